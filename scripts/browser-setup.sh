#!/bin/sh
# Installs what the tests in a browser need: Chromium with its driver, from the distribution, and axe-core. A second run
# finds everything in place and does nothing. Needs Node, which sdks-setup.sh installs.
set -eu
cd "$(dirname "$0")/.."

who=browser
. scripts/packages.sh

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
	apt_install chromium chromium-driver fonts-liberation
fi

PATH="$PATH:$PWD/target/sdks/python/bin"
npm_install tests/browser
