package main

import rego.v1

default skip_reason := ""

skip_reason := "the report measured no lines" if not valid_input

counters := {lower(counter.type): counter | some counter in input.counters}

valid_input if total(counters.line) > 0

total(counter) := counter.missed + counter.covered

floors := {name: to_number(floor) |
	some name, floor in {
		"line": object.get(input.args, "min_line", null),
		"branch": object.get(input.args, "min_branch", null),
	}
	floor != null
}

# JaCoCo leaves out the counter of what the program does not have: without branches none is uncovered.
violations contains {"message": message, "measure": measure, "floor": floor} if {
	some measure, floor in floors
	counter := counters[measure]
	counter.covered * 100 < floor * total(counter)
	message := sprintf("%s coverage is %v %% (%d of %d), below the floor of %v %%", [
		measure,
		round((counter.covered * 1000) / total(counter)) / 10,
		counter.covered,
		total(counter),
		floor,
	])
}
