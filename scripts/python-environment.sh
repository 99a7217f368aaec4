#!/bin/sh
# Creates a Python virtual environment and prints the path of its interpreter:
# python-environment.sh FOLDER REQUIREMENTS [OPTION…]. The packages of the file REQUIREMENTS are installed once, with these
# options of pip, and again when the file changes. If the machine has no Python that is new enough, the script says so.
set -eu
place=$1
wanted=$2
shift 2

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

mkdir -p "$(dirname "$place")"
place=$(cd "$(dirname "$place")" && pwd)/$(basename "$place")
# Tests run in parallel: one of them installs, the others wait.
exec 9>"$place.lock"
flock 9
if ! cmp -s "$wanted" "$place/installed.txt"; then
	# The oldest Python that the clients support, as in pyproject.toml.
	python=
	for name in python3 python3.14 python3.13 python3.12 python3.11; do
		if [ -z "$python" ] && command -v "$name" >/dev/null &&
			"$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$name; fi
	done
	if [ -z "$python" ]; then
		echo "Python 3.11 or newer is needed; found $(python3 --version 2>&1)" >&2
		exit 1
	fi
	echo "creating $place" >&2
	rm -rf "$place"
	# In Debian and Ubuntu, the module that creates environments is in a separate package.
	if ! "$python" -m venv "$place" >/dev/null 2>&1; then
		echo 'installing python3-venv with apt-get' >&2
		as_root apt-get update -qq >&2
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2
		rm -rf "$place"
		"$python" -m venv "$place" >&2
	fi
	"$place/bin/python" -m pip install --quiet --disable-pip-version-check "$@" --requirement "$wanted" >&2
	cp "$wanted" "$place/installed.txt"
fi
echo "$place/bin/python"
