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
violations contains "the scan reached no site" if count(object.get(input, "site", [])) == 0

violations contains {"message": message, "rule_id": alert.pluginid, "severity": upper(split(alert.riskdesc, " ")[0]), "location": site["@name"]} if {
	some site in input.site
	some alert in site.alerts
	to_number(alert.riskcode) > risks[input.args.ceiling]
	to_number(alert.confidence) >= confidences[input.args.min_confidence]
	not alert.pluginid in as_list(object.get(input.args, "ignored", []))
	message := sprintf("%s: %s (%s), %s times, above the ceiling %q", [site["@name"], alert.alert, alert.riskdesc, alert.count, input.args.ceiling])
}
