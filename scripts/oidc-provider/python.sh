#!/bin/sh
# Prints the Python that runs the provider of the sign-in tests (serve.py). Its packages are of pinned versions and
# installed once, into target/; another list of them is installed anew.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
wanted=$here/requirements.txt
target=${CARGO_TARGET_DIR:-$here/../../target}
mkdir -p "$target"
place=$(cd "$target" && pwd)/oidc-provider
# Tests run side by side: one of them installs, the others wait.
exec 9>"$place.lock"
flock 9
if ! cmp -s "$wanted" "$place/installed.txt"; then
	rm -rf "$place"
	python3 -m venv "$place" >&2
	"$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$wanted" >&2
	cp "$wanted" "$place/installed.txt"
fi
echo "$place/bin/python"
