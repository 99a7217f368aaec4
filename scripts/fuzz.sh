#!/bin/sh
# Fuzzes the code that reads what callers send, each target for FUZZ_SECONDS (default 60) or FUZZ_RUNS executions, beginning
# with the corpus and the examples. FUZZ_TARGETS selects some of the targets.
#
# It needs only the stable compiler, whose passes count edges for libFuzzer. FUZZ_SANITIZER=address looks for memory errors
# in the unsafe code of dependencies; this is an unstable feature of the compiler.
set -eu
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
if [ -n "${FUZZ_SANITIZER:-}" ]; then
    export RUSTC_BOOTSTRAP=1
    flags="$flags -Zsanitizer=$FUZZ_SANITIZER"
fi
# When a target is named, the flags do not apply to build scripts.
RUSTFLAGS="$flags" cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$target"

limit="-max_total_time=${FUZZ_SECONDS:-60}"
[ -z "${FUZZ_RUNS:-}" ] || limit="-runs=$FUZZ_RUNS"
for name in ${FUZZ_TARGETS:-body bundle cursor filter jwt key_set lease_token material message path policy query rego token}; do
    mkdir -p "fuzz/found/$name" fuzz/artifacts
    case $name in
        policy) examples=$(find examples/policies -name '*.yaml') ;;
        rego) examples=$(find examples/policies -name '*.rego') ;;
        bundle) examples=$(find crates/attestation/tests/sigstore/data -name '*.sigstore.json') ;;
        material) examples=$(find examples/evidence examples/policies/*/evidence -type f -size -64k) ;;
        *) examples= ;;
    esac
    for file in $examples; do cp "$file" "fuzz/found/$name/$(echo "$file" | tr / _)"; done
    echo "== $name"
    "${CARGO_TARGET_DIR:-fuzz/target}/$target/release/$name" "fuzz/found/$name" "fuzz/corpus/$name" "$limit" \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 "-artifact_prefix=fuzz/artifacts/$name-"
done
