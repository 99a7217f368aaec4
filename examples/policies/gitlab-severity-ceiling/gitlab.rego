package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

rank := {"none": 0, "info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, info, low, medium, high or critical", [input.args.ceiling])
}

violations contains message if {
	input.scan.status != "success"
	message := sprintf("the scan of the type %s ended as %q: what it did not find says nothing", [input.scan.type, input.scan.status])
}

severity(vulnerability) := name if {
	is_string(vulnerability.severity)
	name := lower(vulnerability.severity)
	name in object.keys(rank)
} else := "critical"

ignored(vulnerability) if {
	some identifier in vulnerability.identifiers
	some text in [identifier.name, identifier.value]
	text in as_list(object.get(input.args, "ignored", []))
}

label(vulnerability) := name if {
	name := vulnerability.name
	is_string(name)
} else := name if {
	name := vulnerability.identifiers[0].name
} else := vulnerability.id

place(vulnerability) := {"path": path, "line": line} if {
	path := vulnerability.location.file
	is_string(path)
	line := object.get(vulnerability.location, "start_line", 1)
} else := {"path": path, "line": 1} if {
	path := vulnerability.location.image
	is_string(path)
} else := {"path": "a place that the report does not name", "line": 1}

violations contains {
	"message": message,
	"rule_id": label(vulnerability),
	"severity": upper(severity(vulnerability)),
	"location": place(vulnerability).path,
	"line_number": place(vulnerability).line,
} if {
	some vulnerability in input.vulnerabilities
	rank[severity(vulnerability)] > rank[input.args.ceiling]
	not ignored(vulnerability)
	message := sprintf("%s (%s) at %s:%d, graver than the ceiling %q", [
		label(vulnerability),
		severity(vulnerability),
		place(vulnerability).path,
		place(vulnerability).line,
		input.args.ceiling,
	])
}
