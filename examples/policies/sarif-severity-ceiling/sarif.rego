# Levels follow SARIF 2.1.0, 3.27.10: a result that fails takes its own level, else its rule's, else "warning".
package main

import rego.v1

valid_input if startswith(input.version, "2.1")

rank := {"none": 0, "note": 1, "warning": 2, "error": 3}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, note, warning or error", [input.args.ceiling])
}

rule_id(run, finding) := finding.ruleId if {
	finding.ruleId
} else := finding.rule.id if {
	finding.rule.id
} else := run.tool.driver.rules[finding.ruleIndex].id

# Rules stand with the tool itself or with its plug-ins.
rule_level(run, finding) := level if {
	some component in array.concat([run.tool.driver], object.get(run.tool, "extensions", []))
	some rule in component.rules
	rule.id == rule_id(run, finding)
	level := rule.defaultConfiguration.level
}

level_of(run, finding) := "none" if {
	object.get(finding, "kind", "fail") != "fail"
} else := finding.level if {
	finding.level
} else := rule_level(run, finding) if {
	rule_level(run, finding)
} else := "warning"

# A suppression that is under review, or was rejected, does not count yet.
suppressed(finding) if {
	some suppression in finding.suppressions
	object.get(suppression, "status", "accepted") == "accepted"
}

place(finding) := sprintf("%s:%v", [location.artifactLocation.uri, object.get(location, ["region", "startLine"], 1)]) if {
	location := finding.locations[0].physicalLocation
} else := "a place that the report does not name"

text(finding) := finding.message.text if {
	finding.message.text
} else := finding.message.id

violations contains {"message": message, "rule": rule, "level": level, "location": place(finding)} if {
	some run in input.runs
	some finding in run.results
	level := level_of(run, finding)
	rank[level] > rank[input.args.ceiling]
	not suppressed(finding)
	rule := rule_id(run, finding)
	message := sprintf("%s reports %s (%s) at %s, graver than the ceiling %q: %s", [
		run.tool.driver.name,
		rule,
		level,
		place(finding),
		input.args.ceiling,
		text(finding),
	])
}
