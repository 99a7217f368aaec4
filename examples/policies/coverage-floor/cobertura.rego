package main

import rego.v1

default skip_reason := ""

skip_reason := "the report measured no lines" if not valid_input

# Without a measured line the rate says nothing: 0 would fail, and 1 pass, for no reason.
valid_input if "line" in measures

floors := {name: to_number(floor) |
	some name, floor in {
		"line": object.get(input.args, "min_line", null),
		"branch": object.get(input.args, "min_branch", null),
	}
	floor != null
}

rate_of := {"line": "line-rate", "branch": "branch-rate"}

count_of := {"line": "lines-valid", "branch": "branches-valid"}

# A program without branches has none that is not covered. Whoever counts none, and has a share of them, left out the count.
measures contains measure if {
	some measure, name in count_of
	object.get(input, name, 1) > 0
}

measures contains measure if {
	some measure, name in rate_of
	input[name] > 0
	input[name] < 1
}

# To one decimal, which an integer does without.
percent(rate) := round(rate * 1000) / 10

# Where to begin.
weakest(measure) := concat(", ", array.slice(
	[sprintf("%s (%v %%)", [name, percent(rate)]) |
		some [rate, name] in sort([[pkg[rate_of[measure]], pkg.name] | some pkg in input.packages])
		is_number(rate)
	],
	0, 3,
))

# Rates are compared as millionths: 100 * 0.29 is a little less than 29 in floating point.
violations contains {"message": message, "measure": measure, "floor": floor} if {
	valid_input
	some measure, floor in floors
	measure in measures
	rate := input[rate_of[measure]]
	is_number(rate)
	round(rate * 1000000) < round(floor * 10000)
	message := sprintf("%s coverage is %v %%, below the floor of %v %%; the least covered packages: %s", [
		measure,
		percent(rate),
		floor,
		weakest(measure),
	])
}

violations contains {"message": message, "measure": measure, "floor": floor} if {
	valid_input
	some measure, floor in floors
	measure in measures
	not is_number(object.get(input, rate_of[measure], null))
	message := sprintf("the report has no %s, and a floor of %v %% is asked for", [rate_of[measure], floor])
}
