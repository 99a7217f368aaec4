#!/bin/sh
# Tests the binary as compilers optimise it: a server, its document, evaluations, health and reflection, Google's client, and an
# orderly end. Only what is in this workspace is compiled again, with the libraries that `make test` has built: what goes wrong
# in a whole release goes wrong here where it is our code that was optimised, in minutes and not in a quarter of an hour.
set -eu
cd "$(dirname "$0")/.."

# Incremental builds leave calls of one crate by another as they are.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=3
# As in `make test`: of one package alone, the libraries would have other features and be built once more.
cargo test --locked --workspace --test longrun -- dev:: evaluate:: serve::
scripts/sdks-setup.sh
# The tests above have left their binary where these look for one.
cd clients/python
"$OLDPWD/target/sdks/python/bin/python" -m pytest --quiet tests/test_reflection.py tests/test_google.py
