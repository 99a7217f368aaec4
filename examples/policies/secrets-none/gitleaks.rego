package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

ignored := {fingerprint | some fingerprint in as_list(object.get(input.args, "ignored", []))}

# Neither the secret nor the line that holds it is repeated: verdicts are read by more people than the source.
violations contains {"message": message, "rule_id": finding.RuleID, "severity": "HIGH", "location": finding.File, "line_number": line} if {
	some finding in input.elements
	not finding.Fingerprint in ignored
	line := object.get(finding, "StartLine", 1)
	message := sprintf("%s:%d holds what looks like a secret (%s): revoke it, then remove it", [finding.File, line, finding.RuleID])
}
