package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

label(alert) := name if {
	name := alert.secret_type_display_name
	is_string(name)
} else := alert.secret_type

url(alert) := text if {
	text := alert.html_url
	is_string(text)
} else := "?"

bypass(alert) := ", pushed past the push protection" if {
	alert.push_protection_bypassed == true
} else := ""

violations contains {"message": message, "rule_id": alert.secret_type, "severity": "CRITICAL", "location": url(alert)} if {
	some alert in input.elements
	alert.state != "resolved"
	message := sprintf("alert %d is %s: a secret of the type %s%s; revoke it", [alert.number, alert.state, label(alert), bypass(alert)])
}

violations contains {"message": message, "rule_id": alert.secret_type, "severity": "HIGH", "location": url(alert)} if {
	some alert in input.elements
	alert.state == "resolved"
	resolution := object.get(alert, "resolution", "none")
	not resolution in as_list(input.args.resolutions)
	message := sprintf("alert %d (%s) was closed as %v, which does not end the danger", [alert.number, label(alert), resolution])
}
