package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

ignored := {fingerprint | some fingerprint in as_list(object.get(input.args, "ignored", []))}

# In a baseline that was audited, `is_secret` says what people found.
counts(finding) if {
	object.get(finding, "is_secret", true) != false
	input.args.only_verified != "true"
}

counts(finding) if {
	object.get(finding, "is_secret", true) != false
	finding.is_verified == true
}

violations contains {"message": message, "rule_id": finding.type, "severity": "HIGH", "location": file, "line_number": line} if {
	some file, findings in input.results
	some finding in findings
	counts(finding)
	not object.get(finding, "hashed_secret", "") in ignored
	line := object.get(finding, "line_number", 1)
	message := sprintf("%s:%d holds what looks like a secret (%s): revoke it, then remove it", [file, line, finding.type])
}
