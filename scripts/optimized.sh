#!/bin/sh
# Tests an optimised binary: a server, its OpenAPI document, evaluations, health and reflection, Google's client, and an
# orderly end. Only the crates of this workspace are compiled again, with the libraries that `make test` has built. This
# finds the errors of a full release build that come from optimising our own code, in minutes and not in a quarter of an
# hour.
set -eu
cd "$(dirname "$0")/.."

# Incremental builds do not optimise calls from one crate to another.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=3
# The same selection as in `make test`: for one package alone, the libraries would have other features and be built again.
cargo test --locked --workspace --test longrun -- dev:: evaluate:: serve::
scripts/sdks-setup.sh
# The tests above have left their binary where the following ones look for it.
cd clients/python
"$OLDPWD/target/sdks/python/bin/python" -m pytest --quiet tests/test_reflection.py tests/test_google.py
