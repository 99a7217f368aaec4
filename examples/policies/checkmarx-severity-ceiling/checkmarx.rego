package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

rank := {"none": 0, "info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, info, low, medium, high or critical", [input.args.ceiling])
}

severity(found) := name if {
	is_string(found.severity)
	name := lower(found.severity)
	name in object.keys(rank)
} else := "critical"

# There are no results when the scan found none.
results := [found |
	some found in input.results
	lower(found.type) in {lower(type) | some type in as_list(object.get(input.args, "types", found.type))}
	not object.get(found, "state", "TO_VERIFY") in as_list(input.args.settled)
	object.get(found, "status", "NEW") != "FIXED"
]

# Each engine has its own members.
label(found) := name if {
	name := found.data.queryName
	is_string(name)
} else := name if {
	name := found.data.packageIdentifier
	is_string(name)
} else := name if {
	name := found.id
	is_string(name)
} else := "a result without a name"

place(found) := {"path": path, "line": object.get(found.data.nodes[0], "line", 1)} if {
	path := found.data.nodes[0].fileName
	is_string(path)
} else := {"path": path, "line": object.get(found.data, "line", 1)} if {
	path := found.data.filename
	is_string(path)
} else := {"path": label(found), "line": 1}

violations contains {
	"message": message,
	"rule_id": label(found),
	"severity": upper(severity(found)),
	"location": place(found).path,
	"line_number": place(found).line,
} if {
	some found in results
	rank[severity(found)] > rank[input.args.ceiling]
	message := sprintf("%s: %s (%s) at %s:%d, graver than the ceiling %q", [
		found.type,
		label(found),
		severity(found),
		place(found).path,
		place(found).line,
		input.args.ceiling,
	])
}
