package main

import rego.v1

rank := {"none": 0, "low": 1, "medium": 2, "high": 3, "critical": 4}

violations contains message if {
	not input.args.ceiling in object.keys(rank)
	message := sprintf("the input ceiling is %q: it must be none, low, medium, high or critical", [input.args.ceiling])
}

own_severity := {"none": "low", "note": "low", "warning": "medium", "error": "high"}

# What has no severity that is known is as grave as can be.
severity(alert) := alert.rule.security_severity_level if {
	alert.rule.security_severity_level in object.keys(rank)
} else := own_severity[alert.rule.severity] if {
	alert.rule.severity in object.keys(own_severity)
} else := "critical"

open_alerts contains alert if {
	some alert in input.elements
	alert.state == "open"
}

place(alert) := alert.most_recent_instance.location if {
	alert.most_recent_instance.location.path
} else := {"path": "a place that the alert does not name"}

days(since) := floor((time.now_ns() - time.parse_rfc3339_ns(since)) / (((24 * 60) * 60) * 1000000000))

violations contains finding(alert, message) if {
	some alert in open_alerts
	rank[severity(alert)] > rank[input.args.ceiling]
	message := sprintf("alert %d is open: %s (%s) in %s, graver than the ceiling %q", [
		alert.number,
		alert.rule.id,
		severity(alert),
		place(alert).path,
		input.args.ceiling,
	])
}

violations contains finding(alert, message) if {
	some alert in open_alerts
	rank[severity(alert)] <= rank[input.args.ceiling]
	age := days(alert.created_at)
	age > to_number(input.args.max_age_days)
	message := sprintf("alert %d has been open for %d days, at most %s are allowed: %s in %s", [
		alert.number,
		age,
		input.args.max_age_days,
		alert.rule.id,
		place(alert).path,
	])
}

finding(alert, message) := {
	"message": message,
	"rule_id": alert.rule.id,
	"severity": upper(severity(alert)),
	"location": place(alert).path,
	"line_number": object.get(place(alert), "start_line", 1),
}
