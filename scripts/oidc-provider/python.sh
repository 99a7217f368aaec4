#!/bin/sh
# Prints the path of the Python that runs the provider of the sign-in tests (serve.py); its packages have pinned versions.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../python-environment.sh" "${CARGO_TARGET_DIR:-$here/../../target}/oidc-provider" "$here/requirements.txt" \
	--no-deps
