# Levels follow SARIF 2.1.0, 3.27.10: a result that fails takes its own level, else that of its rule, which an invocation may
# have set anew, else "warning".
package main

import rego.v1

valid_input if {
	startswith(input.version, "2.1")
	count(input.runs) > 0
}

default skip_reason := ""

skip_reason := "the report has no run of SARIF 2.1" if not valid_input

rank := {"none": 0, "note": 1, "warning": 2, "error": 3}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, note, warning or error", [input.args.ceiling])
}

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

# The rules of an id: R1/a is a case of R1. One that is not described has no members.
rules(run, id) := exact if {
	exact := [rule | some rule in described(run); rule.id == id]
	count(exact) > 0
} else := above if {
	above := [rule | some rule in described(run); startswith(id, sprintf("%s/", [rule.id]))]
	count(above) > 0
} else := [{}]

described(run) := [rule |
	some part in array.concat([run.tool.driver], given(run.tool, "extensions", []))
	some rule in part.rules
]

overrides(run, id, invocations) := {level |
	some invocation in invocations
	some override in invocation.ruleConfigurationOverrides
	name := rule_id(run, {"rule": override.descriptor})
	startswith(sprintf("%s/", [id]), sprintf("%s/", [name]))
	level := override.configuration.level
	level in object.keys(rank)
}

# Where a result does not name its invocation, it could be of any of them, or of one that set nothing.
rule_levels(run, finding) := levels if {
	levels := overrides(run, rule_id(run, finding), [run.invocations[finding.provenance.invocationIndex]])
	count(levels) > 0
} else := levels if {
	id := rule_id(run, finding)
	own := {given(rule, ["defaultConfiguration", "level"], "warning") | some rule in rules(run, id)}
	levels := own | overrides(run, id, given(run, "invocations", []))
}

level_of(run, finding) := "none" if {
	given(finding, "kind", "fail") != "fail"
} else := level if {
	level := given(finding, "level", "")
	level != ""
} else := gravest if {
	levels := rule_levels(run, finding)
	some gravest in levels
	every level in levels { rank[level] <= rank[gravest] }
}

# A suppression that is under review, or was rejected, does not count, nor does one without a reason.
suppressed(finding) if {
	some suppression in finding.suppressions
	trim_space(given(suppression, "justification", "")) != ""
	every other in finding.suppressions { given(other, "status", "accepted") == "accepted" }
}

# The file stands with the result, or among the artifacts of the run.
path(run, artifact) := uri if {
	uri := artifact.uri
	is_string(uri)
} else := uri if {
	uri := run.artifacts[artifact.index].location.uri
	is_string(uri)
}

place(run, finding) := at if {
	location := finding.locations[0].physicalLocation
	at := sprintf("%s:%v", [path(run, location.artifactLocation), given(location, ["region", "startLine"], 1)])
} else := "a place that the report does not name"

# SARIF 2.1.0, 3.14.23: who looked and found nothing writes an empty list.
violations contains message if {
	some run in input.runs
	not is_array(object.get(run, "results", null))
	message := sprintf("%s has no results, not even none: nothing was looked at", [run.tool.driver.name])
}

violations contains {"message": message, "rule": rule, "level": level, "location": at} if {
	some run in input.runs
	some finding in run.results
	level := level_of(run, finding)
	rank[level] > rank[input.args.ceiling]
	not suppressed(finding)
	rule := rule_id(run, finding)
	at := place(run, finding)
	message := sprintf("%s reports %s (%s) at %s, graver than the ceiling %q: %s", [
		run.tool.driver.name,
		rule,
		level,
		at,
		input.args.ceiling,
		given(finding, ["message", "text"], given(finding, ["message", "id"], "")),
	])
}
