# The commands of the README. Each target works on a fresh Debian or Ubuntu machine: `setup` installs what is missing.

export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test lint bench fuzz properties setup browser-setup screenshots

help:
	@echo 'make demo       build longrun and demonstrate its main function on real evidence'
	@echo 'make test       run all tests'
	@echo 'make lint       check formatting, clippy, licences and advisories of dependencies'
	@echo 'make bench      run the benchmarks; writes bench/RESULTS.md'
	@echo 'make fuzz       fuzz the code that reads what callers send; FUZZ_SECONDS is the time for each target (60)'
	@echo 'make mutants    insert bugs that the history checker and the simulation must find; MUTANT_SEEDS is the number of seeds for each (300)'
	@echo 'make properties  run the property tests with new cases; PROPTEST_CASES is the number of cases for each (20000)'
	@echo 'make faults     run all tests of kills, torn logs, connection resets and crashes; prints figures'
	@echo 'make promises   bring the figures of the last make faults into docs/promises.md'
	@echo 'make simulation  run the whole system in one process, by seeds; SIMULATION_SEEDS is their number (100000), SIMULATION_SEED repeats one'
	@echo 'make soak       run for SOAK_SECONDS (3600) under load; fails when something grows that must stay flat'
	@echo 'make screenshots  renew docs/images, pictures of the web page with realistic data'
	@echo 'make examples   renew the evidence under examples/'
	@echo 'make sdks       renew the generated parts of the clients in Python and TypeScript'
	@echo 'make site       build the documentation as a site, in target/site'
	@echo 'make setup      install everything that building and testing require'

setup:
	@scripts/setup.sh

demo: setup
	cargo run --locked --package longrun -- demo

browser-setup: sdks-setup
	@scripts/browser-setup.sh

test: setup browser-setup
	cargo test --locked --workspace
	$(MAKE) sdks-test

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/deny.sh
	@# The fuzzers have a workspace, and so a lock file, of their own, which the other builds do not look at.
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml \
	  --filter-platform "$$(rustc -vV | sed -n 's/^host: //p')" >/dev/null
	$(MAKE) sdks-check

bench: setup
	scripts/bench.sh

fuzz: setup
	scripts/fuzz.sh

# Setting PROPTEST_RNG_SEED to the value that is printed first repeats the same cases.
properties: setup
	@seed=$${PROPTEST_RNG_SEED:-$$(date +%s)}; echo "PROPTEST_RNG_SEED=$$seed"; \
	PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --locked --package operations --package evidence --lib

screenshots: setup browser-setup
	cargo test --locked --package longrun --test browser -- --ignored --exact screenshots::every_page

include mk/examples.mk
include mk/sdks.mk
include mk/site.mk
include mk/faults.mk
