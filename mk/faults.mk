# What is promised, shown under faults (docs/promises.md). Each target can fail.

.PHONY: mutants faults soak simulation

# Bugs that the history checker and the simulation must find; MUTANT_SEEDS (300) is how many seeds each gets.
mutants: setup
	scripts/mutants.sh

# The history checker with LONGRUN_SEEDS (1000) seeds on each engine, LONGRUN_KILLS (200) kills of the binary under load,
# LONGRUN_FAILOVERS (50) failovers of PostgreSQL under load, and all
# faults of the stores' tests; figures are printed.
faults: setup
	LONGRUN_SEEDS=$${LONGRUN_SEEDS:-1000} cargo test --locked --package store --test checker
	LONGRUN_KILLS=$${LONGRUN_KILLS:-200} cargo test --locked --package longrun --test faults -- --nocapture
	LONGRUN_FAILOVERS=$${LONGRUN_FAILOVERS:-50} cargo test --locked --package store --test store -- --nocapture outage failover frozen resets wraparound torn full_disk replica servers clock

# SIMULATION_SEEDS (100000) seeds of the whole in one process, as many at a time as there are cores; SIMULATION_FIRST (0) is the
# first. Our own code is optimised for it, with its assertions. A seed that fails is run again with SIMULATION_SEED.
simulation: setup
	SIMULATION_SEEDS=$${SIMULATION_SEEDS:-100000} CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_INCREMENTAL=0 \
	  cargo run --locked --package simulation

# The binary at work for SOAK_SECONDS (3600; 600 is the short form); fails when something grows that is to be flat.
soak: setup
	SOAK_SECONDS=$${SOAK_SECONDS:-3600} cargo test --locked --package longrun --test faults -- --ignored --nocapture \
	  soak::nothing_grows_that_is_to_be_flat
