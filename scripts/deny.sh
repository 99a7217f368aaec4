#!/bin/sh
# Checks the dependencies with cargo-deny: licences, bans, sources; and advisories where their database can be had.
set -eu

# The version whose configuration deny.toml is written for.
version=0.20.2

if ! cargo deny --version >/dev/null 2>&1; then
	echo "deny: building cargo-deny $version (once; some minutes)"
	cargo install --locked --quiet "cargo-deny@$version"
fi
cargo deny --locked --all-features check bans licenses sources
# The advisory database is a git repository that a closed network does not reach. What it says is checked wherever it is
# reached; where it is not, that is said and the gate goes on with what can be known.
if cargo deny --locked --all-features fetch db >/dev/null 2>&1; then
	cargo deny --locked --all-features check --disable-fetch advisories
else
	echo "deny: the advisory database cannot be reached from here; advisories were NOT checked" >&2
fi
