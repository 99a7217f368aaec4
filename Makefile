# What the README calls. Each target works on a fresh Debian or Ubuntu machine: `setup` installs what is missing.

export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test lint bench fuzz properties setup browser-setup screenshots

help:
	@echo 'make demo       build longrun and show its main job on real evidence'
	@echo 'make test       all tests'
	@echo 'make lint       formatting, clippy, licences and advisories of dependencies'
	@echo 'make bench      measure; writes bench/RESULTS.md'
	@echo 'make fuzz       fuzz what reads what callers send; FUZZ_SECONDS is how long each (60)'
	@echo 'make mutants    bugs that the history checker and the simulation must find; MUTANT_SEEDS is how many seeds each gets (300)'
	@echo 'make properties  the property tests with new cases; PROPTEST_CASES is how many of each (20000)'
	@echo 'make faults     kills, torn logs, resets, crashes, in full; prints figures'
	@echo 'make simulation  the whole in one process, by seeds; SIMULATION_SEEDS is how many (100000), SIMULATION_SEED runs one again'
	@echo 'make soak       work for SOAK_SECONDS (3600) under load; fails when something grows that is to be flat'
	@echo 'make screenshots  renew docs/images, pictures of the web page with believable data'
	@echo 'make examples   renew the evidence under examples/'
	@echo 'make sdks       renew what is generated of the clients in Python and TypeScript'
	@echo 'make site       the documentation as a site, in target/site'
	@echo 'make setup      install what building and testing need'

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
	$(MAKE) sdks-check

bench: setup
	scripts/bench.sh

fuzz: setup
	scripts/fuzz.sh

# PROPTEST_RNG_SEED, which is told first, tries the same cases again.
properties: setup
	@seed=$${PROPTEST_RNG_SEED:-$$(date +%s)}; echo "PROPTEST_RNG_SEED=$$seed"; \
	PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${PROPTEST_CASES:-20000} cargo test --locked --package operations --package evidence --lib

screenshots: setup browser-setup
	cargo test --locked --package longrun --test browser -- --ignored --exact screenshots::every_page

include mk/examples.mk
include mk/sdks.mk
include mk/site.mk
include mk/faults.mk
