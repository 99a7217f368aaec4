#!/bin/sh
# Checks the dependencies with cargo-deny: licences, bans, sources; and advisories if their database can be reached.
set -eu

# The version whose configuration deny.toml is written for.
version=0.20.2

if ! cargo deny --version >/dev/null 2>&1; then
	echo "deny: building cargo-deny $version (only once; takes some minutes)"
	cargo install --locked --quiet "cargo-deny@$version"
fi
cargo deny --locked --all-features check bans licenses sources
# The advisory database is a git repository, which cannot be reached from a closed network. Advisories are checked where
# it can be reached; elsewhere the script says so and the gate continues with the other checks.
if cargo deny --locked --all-features fetch db >/dev/null 2>&1; then
	cargo deny --locked --all-features check --disable-fetch advisories
else
	echo "deny: the advisory database cannot be reached from here; advisories were NOT checked" >&2
fi
