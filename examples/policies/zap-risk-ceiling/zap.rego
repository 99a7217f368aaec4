package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# ZAP writes both as numbers in strings: risks from 0, confidences from 0, which is a false positive.
risks := {"none": -1, "informational": 0, "low": 1, "medium": 2, "high": 3}

confidences := {"low": 1, "medium": 2, "high": 3, "confirmed": 4}

violations contains message if {
	not input.args.ceiling in object.keys(risks)
	message := sprintf("the input ceiling is %q: it must be none, informational, low, medium or high", [input.args.ceiling])
}

violations contains message if {
	not input.args.min_confidence in object.keys(confidences)
	message := sprintf("the input min_confidence is %q: it must be low, medium, high or confirmed", [input.args.min_confidence])
}

# A scan that reached no site found nothing because it looked at nothing.
violations contains "the scan reached no site" if count(given(input, "site", [])) == 0

# What an alert does not say is taken for the worst.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	not value in {null, ""}
} else := otherwise

risk(alert) := to_number(given(alert, "riskcode", risks.high))

confidence(alert) := to_number(given(alert, "confidence", confidences.confirmed))

described(alert) := given(alert, "riskdesc", "High, since nothing else is said")

name(alert) := given(alert, "alert", given(alert, "name", "an alert without a name"))

violations contains {"message": message, "rule_id": id, "severity": severity, "location": at} if {
	some site in input.site
	some alert in site.alerts
	risk(alert) > risks[input.args.ceiling]
	confidence(alert) >= confidences[input.args.min_confidence]
	id := given(alert, "pluginid", "unknown")
	not id in as_list(object.get(input.args, "ignored", []))
	severity := upper(regex.replace(described(alert), `[^A-Za-z].*`, ""))
	at := given(site, "@name", "a site without a name")
	message := sprintf("%s: %s (%s), %v times, above the ceiling %q", [at, name(alert), described(alert), given(alert, "count", "?"), input.args.ceiling])
}
