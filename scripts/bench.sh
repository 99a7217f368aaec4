#!/bin/sh
# A short run of the benchmarks; writes bench/RESULTS.md. ROWS and SAMPLES set its size.
set -eu

rows=${ROWS:-1000000}
samples=${SAMPLES:-300}

cargo build --locked --release --package longrun
mkdir -p bench
report=$(target/release/longrun bench pages --rows "$rows" --samples "$samples")
{
	echo '# Measurements'
	echo
	echo 'Made by `make bench`. Compare within one run only: machines are noisy. What is measured: docs/benchmarks.md.'
	echo
	echo '## `longrun bench pages`: one page of 50 with its exact total'
	echo
	echo '```'
	echo "$report"
	echo '```'
} >bench/RESULTS.md
cat bench/RESULTS.md
