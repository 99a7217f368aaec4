package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

label(alert) := alert.secret_type_display_name if {
	alert.secret_type_display_name
} else := alert.secret_type

bypass(alert) := ", pushed past the push protection" if {
	alert.push_protection_bypassed == true
} else := ""

violations contains {"message": message, "rule_id": alert.secret_type, "severity": "CRITICAL", "location": object.get(alert, "html_url", "?")} if {
	some alert in input.elements
	alert.state != "resolved"
	message := sprintf("alert %d is %s: a secret of the type %s%s; revoke it", [alert.number, alert.state, label(alert), bypass(alert)])
}

violations contains {"message": message, "rule_id": alert.secret_type, "severity": "HIGH", "location": object.get(alert, "html_url", "?")} if {
	some alert in input.elements
	alert.state == "resolved"
	resolution := object.get(alert, "resolution", "none")
	not resolution in as_list(input.args.resolutions)
	message := sprintf("alert %d (%s) was closed as %v, which does not end the danger", [alert.number, label(alert), resolution])
}
