#!/bin/sh
# Installs what the tests in a browser need: Chromium with its driver, from the distribution, and axe-core. The second run
# finds everything and does nothing. Needs Node, which sdks-setup.sh brings along.
set -eu
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
	if ! command -v apt-get >/dev/null; then
		echo 'browser: please install Chromium as `chromium`, and `chromedriver` of the same version' >&2
		exit 1
	fi
	echo 'browser: installing chromium and chromium-driver with apt-get'
	as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		chromium chromium-driver fonts-liberation >/dev/null
fi

PATH="$PATH:$PWD/target/sdks/python/bin"
lock=tests/browser/package-lock.json
stamp=tests/browser/node_modules/.stamp
if ! cmp -s "$lock" "$stamp"; then
	echo 'browser: installing tests/browser/node_modules'
	(cd tests/browser && npm ci --silent --no-audit --no-fund)
	cp "$lock" "$stamp"
fi
