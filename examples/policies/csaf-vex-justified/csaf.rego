package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if input.document.category == "csaf_vex"

# Each has one of the two.
identifier(vulnerability) := id if {
	id := vulnerability.cve
	is_string(id)
} else := id if {
	id := vulnerability.ids[0].text
	is_string(id)
} else := "a vulnerability without an identifier"

violations contains message if {
	status := input.document.tracking.status
	status != "final"
	message := sprintf("the document is %q: only a final one can be relied on", [status])
}

violations contains message if {
	namespace := input.document.publisher.namespace
	not namespace in as_list(object.get(input.args, "publishers", [namespace]))
	message := sprintf("the document is by %s (%s), who is not among the trusted publishers", [input.document.publisher.name, namespace])
}

# Products may be named one by one, or by a group.
concerns(entry) := {product | some product in entry.product_ids} | {product |
	some group in input.product_tree.product_groups
	some id in entry.group_ids
	group.group_id == id
	some product in group.product_ids
}

explained(vulnerability) := {product |
	some entry in vulnerability.flags
	some product in concerns(entry)
} | {product |
	some entry in vulnerability.threats
	entry.category == "impact"
	some product in concerns(entry)
}

remedied(vulnerability) := {product |
	some entry in vulnerability.remediations
	some product in concerns(entry)
}

violations contains {"message": message, "vulnerability": identifier(vulnerability)} if {
	some vulnerability in input.vulnerabilities
	unexplained := {product | some product in vulnerability.product_status.known_not_affected} - explained(vulnerability)
	count(unexplained) > 0
	message := sprintf("%s: %s said to be not affected, without a flag or an impact that says why", [identifier(vulnerability), concat(", ", sort(unexplained))])
}

violations contains {"message": message, "vulnerability": identifier(vulnerability)} if {
	some vulnerability in input.vulnerabilities
	helpless := {product | some product in vulnerability.product_status.known_affected} - remedied(vulnerability)
	count(helpless) > 0
	message := sprintf("%s: nothing says what to do about %s", [identifier(vulnerability), concat(", ", sort(helpless))])
}
