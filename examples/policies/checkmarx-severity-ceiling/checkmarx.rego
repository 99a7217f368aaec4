package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

rank := {"none": 0, "info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, info, low, medium, high or critical", [input.args.ceiling])
}

severity(found) := lower(found.severity) if {
	lower(found.severity) in object.keys(rank)
} else := "critical"

# There are no results when the scan found none.
results := [found |
	some found in input.results
	found.type in as_list(object.get(input.args, "types", found.type))
	not object.get(found, "state", "TO_VERIFY") in as_list(input.args.settled)
	object.get(found, "status", "NEW") != "FIXED"
]

# Each engine has its own members.
label(found) := found.data.queryName if {
	found.data.queryName
} else := found.data.packageIdentifier if {
	found.data.packageIdentifier
} else := found.id

place(found) := {"path": node.fileName, "line": node.line} if {
	node := found.data.nodes[0]
} else := {"path": found.data.filename, "line": object.get(found.data, "line", 1)} if {
	found.data.filename
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
