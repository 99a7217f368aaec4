package main

import rego.v1

rank := {"none": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, low, medium, high or critical", [input.args.ceiling])
}

own_severity := {"none": "low", "note": "low", "warning": "medium", "error": "high"}

# What has no severity that is known is as grave as can be.
severity(alert) := level if {
	level := alert.rule.security_severity_level
	level in object.keys(rank)
} else := level if {
	level := own_severity[alert.rule.severity]
} else := "critical"

rule(alert) := id if {
	id := alert.rule.id
	is_string(id)
} else := "a rule without an id"

open_alerts contains alert if {
	some alert in input.elements
	alert.state == "open"
}

place(alert) := location if {
	location := alert.most_recent_instance.location
	is_string(location.path)
} else := {"path": "a place that the alert does not name"}

days(since) := floor((time.now_ns() - time.parse_rfc3339_ns(since)) / (((24 * 60) * 60) * 1000000000))

violations contains found if {
	some alert in open_alerts
	rank[severity(alert)] > rank[input.args.ceiling]
	message := sprintf("alert %d is open: %s (%s) in %s, graver than the ceiling %q", [
		alert.number,
		rule(alert),
		severity(alert),
		place(alert).path,
		input.args.ceiling,
	])
	found := finding(alert, message)
}

violations contains found if {
	some alert in open_alerts
	rank[severity(alert)] <= rank[input.args.ceiling]
	is_string(alert.created_at)
	age := days(alert.created_at)
	age > to_number(input.args.max_age_days)
	message := sprintf("alert %d has been open for %d days, at most %s are allowed: %s in %s", [
		alert.number,
		age,
		input.args.max_age_days,
		rule(alert),
		place(alert).path,
	])
	found := finding(alert, message)
}

violations contains found if {
	some alert in open_alerts
	input.args.max_age_days
	not is_string(object.get(alert, "created_at", null))
	message := sprintf("alert %d does not say since when it is open: %s in %s", [alert.number, rule(alert), place(alert).path])
	found := finding(alert, message)
}

finding(alert, message) := {
	"message": message,
	"rule_id": rule(alert),
	"severity": upper(severity(alert)),
	"location": place(alert).path,
	"line_number": object.get(place(alert), "start_line", 1),
}
