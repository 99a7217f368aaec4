package main

import rego.v1

valid_input if startswith(input.version, "2.1")

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

rule_id(run, finding) := finding.ruleId if {
	finding.ruleId
} else := finding.rule.id if {
	finding.rule.id
} else := run.tool.driver.rules[finding.ruleIndex].id

forbidden(rule) if {
	some pattern in as_list(input.args.rules)
	glob.match(pattern, null, rule)
}

# A finding in several places counts unless all of them are ignored.
places(finding) := [{"path": path, "line": line} |
	some location in finding.locations
	path := location.physicalLocation.artifactLocation.uri
	line := object.get(location.physicalLocation, ["region", "startLine"], 1)
	not ignored(path)
]

ignored(path) if {
	some pattern in as_list(object.get(input.args, "ignored_paths", []))
	glob.match(pattern, ["/"], path)
}

violations contains {"message": message, "rule_id": rule, "severity": "HIGH", "location": place.path, "line_number": place.line} if {
	some run in input.runs
	some finding in run.results
	rule := rule_id(run, finding)
	forbidden(rule)
	some place in places(finding)
	message := sprintf("%s at %s:%d is never let through: %s", [rule, place.path, place.line, finding.message.text])
}

# What has no place cannot be ignored by its path.
violations contains {"message": message, "rule_id": rule} if {
	some run in input.runs
	some finding in run.results
	rule := rule_id(run, finding)
	forbidden(rule)
	count(object.get(finding, "locations", [])) == 0
	message := sprintf("%s is never let through: %s", [rule, finding.message.text])
}
