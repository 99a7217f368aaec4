# CycloneDX carries VEX inside the SBOM, as the analysis of each entry of vulnerabilities.
package main

import rego.v1

# An SBOM without vulnerabilities has nothing to answer, unless some are asked for by name.
valid_input if count(object.get(input, "vulnerabilities", [])) > 0

valid_input if input.args.vulnerabilities

skip_reason := "the SBOM lists no vulnerabilities" if not valid_input

default skip_reason := ""

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

violations contains {"message": message, "vulnerability": id} if {
	some id in as_list(object.get(input.args, "vulnerabilities", []))
	not id in {vulnerability.id | some vulnerability in input.vulnerabilities}
	message := sprintf("%s has no entry in vulnerabilities: say whether the product is affected", [id])
}

state(vulnerability) := object.get(vulnerability, ["analysis", "state"], "in_triage")

# Without a date nobody knows how long the triage has lasted, so it counts as too long.
overdue(vulnerability) if not vulnerability.analysis.firstIssued

overdue(vulnerability) if {
	age := time.now_ns() - time.parse_rfc3339_ns(vulnerability.analysis.firstIssued)
	age > ((((to_number(input.args.max_investigation_days) * 24) * 60) * 60) * 1000) * 1000000
}

violations contains {"message": message, "vulnerability": vulnerability.id} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) == "in_triage"
	overdue(vulnerability)
	message := sprintf("%s is not answered: its analysis must leave in_triage within %s days of analysis.firstIssued", [
		vulnerability.id,
		input.args.max_investigation_days,
	])
}

violations contains {"message": message, "vulnerability": vulnerability.id} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) == "exploitable"
	count(object.get(vulnerability.analysis, "response", [])) == 0
	object.get(vulnerability, "recommendation", "") == ""
	message := sprintf("%s is exploitable, and the entry does not say what to do: add analysis.response or a recommendation", [vulnerability.id])
}

violations contains {"message": message, "vulnerability": vulnerability.id} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) in {"not_affected", "false_positive"}
	object.get(vulnerability.analysis, "justification", "") == ""
	object.get(vulnerability.analysis, "detail", "") == ""
	message := sprintf("%s is said to be %s, without a reason: add analysis.justification or analysis.detail", [
		vulnerability.id,
		state(vulnerability),
	])
}
