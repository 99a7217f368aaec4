#!/bin/sh
# Fuzzes what reads what callers send, each target for a while (FUZZ_SECONDS, default 60), beginning with the examples.
set -eu
cd "$(dirname "$0")/.."

cargo +nightly fuzz --version >/dev/null 2>&1 || {
    rustup toolchain install nightly --profile minimal
    cargo install cargo-fuzz --locked
}
seconds=${FUZZ_SECONDS:-60}
seed() { # target files…
    mkdir -p "fuzz/corpus/$1"
    for file in $(shift; echo "$@"); do cp "$file" "fuzz/corpus/$1/$(echo "$file" | tr / _)"; done
}
seed policy $(find examples/policies -name '*.yaml')
seed rego $(find examples/policies -name '*.rego')
seed material $(find examples/evidence -type f -size -64k)
for target in policy rego material; do
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048
done
