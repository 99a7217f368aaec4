package main

import rego.v1

valid_input if startswith(input.version, "2.1")

runs := [run |
	some run in input.runs
	is_asked_for(run.tool.driver)
]

is_asked_for(driver) if lower(driver.name) == lower(object.get(input.args, "tool", driver.name))

violations contains message if {
	count(runs) == 0
	names := concat(", ", {run.tool.driver.name | some run in input.runs})
	message := sprintf("no run of %s in the report, only of: %s", [object.get(input.args, "tool", "any tool"), names])
}

# SARIF 2.1.0, 3.20.14: false says that the tool could not finish.
violations contains message if {
	some run in runs
	some invocation in run.invocations
	invocation.executionSuccessful == false
	message := sprintf("%s did not finish: %s", [run.tool.driver.name, reason(invocation)])
}

# SARIF 2.1.0, 3.14.23: who looked and found nothing writes an empty list.
violations contains message if {
	some run in runs
	not is_array(object.get(run, "results", null))
	message := sprintf("%s has no results, not even none: nothing was looked at", [run.tool.driver.name])
}

reason(invocation) := concat("; ", texts) if {
	texts := [text |
		some notification in invocation.toolExecutionNotifications
		text := notification.message.text
		is_string(text)
	]
	count(texts) > 0
} else := sprintf("it ended with code %v", [object.get(invocation, "exitCode", "?")])

version(driver) := text if {
	text := driver.semanticVersion
	not text in {"", null}
} else := text if {
	text := driver.version
	not text in {"", null}
} else := "unknown"

violations contains message if {
	some run in runs
	version(run.tool.driver) == "unknown"
	input.args.min_version
	message := sprintf("%s does not say its version, which must be at least %s", [run.tool.driver.name, input.args.min_version])
}

violations contains message if {
	some run in runs
	found := version(run.tool.driver)
	found != "unknown"
	not is_recent(found)
	message := sprintf("%s has the version %s, which is not known to be at least %s", [run.tool.driver.name, found, input.args.min_version])
}

is_recent(found) if not input.args.min_version

is_recent(found) if {
	semver.is_valid(found)
	semver.compare(found, input.args.min_version) >= 0
}
