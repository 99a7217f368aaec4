package main

import rego.v1

valid_input if {
	startswith(input.version, "2.1")
	count(input.runs) > 0
}

default skip_reason := ""

skip_reason := "the report has no run of SARIF 2.1" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

# A rule is named by its id, or by its place among the rules of the tool or of one of its extensions.
rule_id(run, finding) := id if {
	id := given(finding, "ruleId", given(finding, ["rule", "id"], ""))
	id != ""
} else := id if {
	index := given(finding, ["rule", "index"], given(finding, "ruleIndex", -1))
	id := component(run, finding).rules[index].id
} else := "no rule"

component(run, finding) := extension if {
	extension := run.tool.extensions[finding.rule.toolComponent.index]
} else := driver if {
	driver := run.tool.driver
}

# R1/a is a case of R1.
forbidden(rule) if {
	some pattern in as_list(input.args.rules)
	some name in {rule, regex.replace(rule, `/[^/]*$`, "")}
	glob.match(pattern, null, name)
}

# The file stands with the finding, or among the artifacts of the run.
path(run, location) := uri if {
	uri := location.physicalLocation.artifactLocation.uri
	is_string(uri)
} else := uri if {
	uri := run.artifacts[location.physicalLocation.artifactLocation.index].location.uri
	is_string(uri)
}

ignored(file) if {
	some pattern in as_list(object.get(input.args, "ignored_paths", []))
	glob.match(pattern, ["/"], file)
}

# A finding in several places counts unless all of them are ignored.
places(run, finding) := [{"path": file, "line": line} |
	some location in finding.locations
	file := path(run, location)
	line := given(location, ["physicalLocation", "region", "startLine"], 1)
]

# What has no file cannot be ignored by its path.
without_file(_, finding) if count(given(finding, "locations", [])) == 0

without_file(run, finding) if {
	some location in finding.locations
	not path(run, location)
}

# SARIF 2.1.0, 3.14.23: who looked and found nothing writes an empty list.
violations contains message if {
	some run in input.runs
	not is_array(object.get(run, "results", null))
	message := sprintf("%s has no results, not even none: nothing was looked at", [run.tool.driver.name])
}

text(finding) := given(finding, ["message", "text"], given(finding, ["message", "id"], ""))

violations contains {"message": message, "rule_id": rule, "severity": "HIGH", "location": place.path, "line_number": place.line} if {
	some run in input.runs
	some finding in run.results
	rule := rule_id(run, finding)
	forbidden(rule)
	some place in places(run, finding)
	not ignored(place.path)
	message := sprintf("%s at %s:%d is never let through: %s", [rule, place.path, place.line, text(finding)])
}

violations contains {"message": message, "rule_id": rule} if {
	some run in input.runs
	some finding in run.results
	rule := rule_id(run, finding)
	forbidden(rule)
	without_file(run, finding)
	message := sprintf("%s is never let through: %s", [rule, text(finding)])
}
