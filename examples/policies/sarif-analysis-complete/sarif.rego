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

reason(invocation) := concat("; ", texts) if {
	texts := [notification.message.text | some notification in invocation.toolExecutionNotifications]
	count(texts) > 0
} else := sprintf("it ended with code %v", [object.get(invocation, "exitCode", "?")])

version(driver) := driver.semanticVersion if {
	driver.semanticVersion
} else := driver.version if {
	driver.version
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
