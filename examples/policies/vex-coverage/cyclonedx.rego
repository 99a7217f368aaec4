# CycloneDX carries VEX inside the SBOM, as the analysis of each entry of vulnerabilities.
package main

import rego.v1

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

# An SBOM without vulnerabilities has nothing to answer, unless some are asked for by name.
valid_input if count(given(input, "vulnerabilities", [])) > 0

valid_input if input.args.vulnerabilities

skip_reason := "the SBOM lists no vulnerabilities" if not valid_input

default skip_reason := ""

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

violations contains {"message": message, "vulnerability": wanted} if {
	some wanted in as_list(object.get(input.args, "vulnerabilities", []))
	not wanted in {id(vulnerability) | some vulnerability in input.vulnerabilities}
	message := sprintf("%s has no entry in vulnerabilities: say whether the product is affected", [wanted])
}

id(vulnerability) := given(vulnerability, "id", "a vulnerability without an id")

analysis(vulnerability, member) := given(vulnerability, ["analysis", member], "")

state(vulnerability) := given(vulnerability, ["analysis", "state"], "in_triage")

# Without a date nobody knows how long the triage has lasted, so it counts as too long.
overdue(vulnerability) if analysis(vulnerability, "firstIssued") == ""

overdue(vulnerability) if {
	since := analysis(vulnerability, "firstIssued")
	since != ""
	age := time.now_ns() - time.parse_rfc3339_ns(since)
	age > ((((to_number(input.args.max_investigation_days) * 24) * 60) * 60) * 1000) * 1000000
}

violations contains {"message": message, "vulnerability": id(vulnerability)} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) == "in_triage"
	overdue(vulnerability)
	message := sprintf("%s is not answered: its analysis must leave in_triage within %s days of analysis.firstIssued", [
		id(vulnerability),
		input.args.max_investigation_days,
	])
}

violations contains {"message": message, "vulnerability": id(vulnerability)} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) == "exploitable"
	analysis(vulnerability, "response") in {"", []}
	given(vulnerability, "recommendation", "") == ""
	message := sprintf("%s is exploitable, and the entry does not say what to do: add analysis.response or a recommendation", [id(vulnerability)])
}

violations contains {"message": message, "vulnerability": id(vulnerability)} if {
	some vulnerability in input.vulnerabilities
	state(vulnerability) in {"not_affected", "false_positive"}
	analysis(vulnerability, "justification") == ""
	analysis(vulnerability, "detail") == ""
	message := sprintf("%s is said to be %s, without a reason: add analysis.justification or analysis.detail", [
		id(vulnerability),
		state(vulnerability),
	])
}
