#!/bin/sh
# A short run of the benchmarks, about a quarter of an hour on two cores; writes bench/RESULTS.md. ROWS, SAMPLES and
# SECONDS_EACH set its size. For PostgreSQL, each benchmark creates a cluster and removes it.
set -eu

rows=${ROWS:-1000000}
samples=${SAMPLES:-200}
seconds=${SECONDS_EACH:-10}
longrun=${LONGRUN:-target/release/longrun}

if [ -z "${LONGRUN:-}" ]; then
	cargo build --locked --release --package longrun
fi
cargo build --locked --package testkit --bins
mkdir -p bench
# Each waiting client needs two file descriptors.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
report=$(mktemp)
trap 'rm -f "$report"' EXIT

# measure TITLE ARGUMENTS…: writes one section of the report, with both engines.
measure() {
	title=$1
	shift
	printf '\n## `longrun bench %s`: %s\n' "$1" "$title" >>"$report"
	for store in sqlite postgres; do
		echo "bench: $* ($store)" >&2
		if [ "$store" = sqlite ]; then
			printf '\n```text\n$ longrun bench %s\n' "$*" >>"$report"
			"$longrun" bench "$@" >>"$report"
		else
			printf '\n```text\n$ longrun bench %s --store postgres://…\n' "$*" >>"$report"
			target/debug/with-postgres "$longrun" bench "$@" --store >>"$report"
		fi
		printf '```\n' >>"$report"
	done
}

cat >"$report" <<END
# Measurements

Made by \`make bench\` on $(uname -sr), $(nproc) cores, $(date -u +%Y-%m-%d). Compare within one run only: machines are noisy, and on this one clients,
server and database share the cores. What is measured and how to read it: [docs/benchmarks.md](../docs/benchmarks.md).
END
measure 'one page of 50 with its exact total' pages --rows "$rows" --samples "$samples"
measure 'create, claim, settle, each durable' lifecycle --seconds "$seconds"
measure 'the same, with a snapshot held open' lifecycle --seconds "$((seconds * 3))" --held-snapshot
measure 'from a creation to the start of its handler' latency
measure 'creations and reads over HTTP' http --seconds "$seconds"
measure 'clients that wait' waiters --waiters 5000
measure 'behind a long queue of another organization' fairness --pending 200000
cp "$report" bench/RESULTS.md
cat bench/RESULTS.md
