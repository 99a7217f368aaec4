# Tests of the promises in docs/promises.md under faults. Each target can fail.

.PHONY: mutants faults promises soak simulation

# The figures of the last `make faults`.
FIGURES := $(CURDIR)/target/figures.md

# Inserts bugs that the history checker and the simulation must find; each gets MUTANT_SEEDS (300) seeds.
mutants: setup
	scripts/mutants.sh

# The history checker with LONGRUN_SEEDS (1000) seeds on each engine, LONGRUN_KILLS (200) kills of the binary under load,
# LONGRUN_FAILOVERS (50) failovers of PostgreSQL under load, a snapshot held open for LONGRUN_SNAPSHOT_SECONDS (600), and all
# tests of the stores under faults; prints figures.
faults: setup
	mkdir -p target && rm -f $(FIGURES)
	LONGRUN_SEEDS=$${LONGRUN_SEEDS:-1000} cargo test --locked --package store --test checker
	LONGRUN_FIGURES=$(FIGURES) LONGRUN_KILLS=$${LONGRUN_KILLS:-200} cargo test --locked --package longrun --test faults -- --nocapture
	LONGRUN_FIGURES=$(FIGURES) LONGRUN_FAILOVERS=$${LONGRUN_FAILOVERS:-50} LONGRUN_SNAPSHOT_SECONDS=$${LONGRUN_SNAPSHOT_SECONDS:-600} \
	  cargo test --locked --package store --test store -- --nocapture outage failover frozen resets wraparound torn full_disk replica servers clock heads

# Brings the figures of the last `make faults` into docs/promises.md.
promises:
	LONGRUN_FIGURES=$(FIGURES) cargo test --locked --package longrun --test faults -- --ignored --exact \
	  promises::figures_are_brought_onto_the_page

# Runs SIMULATION_SEEDS (100000) seeds of the whole system in one process, as many at a time as there are cores;
# SIMULATION_FIRST (0) is the first seed. Our own code is optimised for this, with its assertions. SIMULATION_SEED runs a
# seed that failed again.
simulation: setup
	SIMULATION_SEEDS=$${SIMULATION_SEEDS:-100000} CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_INCREMENTAL=0 \
	  cargo run --locked --package simulation

# Runs the binary under load for SOAK_SECONDS (3600; 600 is the short form) on an embedded store, or with SOAK_STORE=postgres
# on PostgreSQL; fails when something grows that must stay flat.
soak: setup
	SOAK_SECONDS=$${SOAK_SECONDS:-3600} cargo test --locked --package longrun --test faults -- --ignored --nocapture \
	  soak::nothing_grows_that_is_to_be_flat
