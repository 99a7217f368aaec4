# What is promised, shown under faults (docs/promises.md). Each target can fail.

.PHONY: mutants

# Bugs that the history checker must find; MUTANT_SEEDS (300) is how many seeds each gets.
mutants: setup
	scripts/mutants.sh
