package main

import rego.v1

valid_input if is_array(input.statements)

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# OpenVEX 0.2 has an object here, the drafts before it a string.
identifier(statement) := statement.vulnerability if is_string(statement.vulnerability)

identifier(statement) := statement.vulnerability.name if is_object(statement.vulnerability)

identifiers(statement) := {identifier(statement)} | {alias | some alias in object.get(statement.vulnerability, "aliases", [])} if {
	is_object(statement.vulnerability)
} else := {identifier(statement)}

# A statement inherits the document's timestamp.
made(statement) := time.parse_rfc3339_ns(object.get(statement, "timestamp", input.timestamp))

products(statement) := {product["@id"] | some product in statement.products}

# The latest statement about a vulnerability in a product is the one that holds.
superseded(statement) if {
	some later in input.statements
	identifier(later) == identifier(statement)
	products(statement) - products(later) == set()
	made(later) > made(statement)
}

current := [statement |
	some statement in input.statements
	not superseded(statement)
]

answered := union({identifiers(statement) | some statement in current})

about(statement) := sprintf("%s in %s", [identifier(statement), concat(", ", sort(products(statement)))]) if {
	count(products(statement)) > 0
} else := identifier(statement)

violations contains {"message": message, "vulnerability": id} if {
	some id in as_list(object.get(input.args, "vulnerabilities", []))
	not id in answered
	message := sprintf("%s has no statement: say whether the product is affected", [id])
}

violations contains {"message": message, "vulnerability": identifier(statement)} if {
	some statement in current
	statement.status == "under_investigation"
	days := floor((time.now_ns() - made(statement)) / (((24 * 60) * 60) * 1000000000))
	days > to_number(input.args.max_investigation_days)
	message := sprintf("%s has been under investigation for %d days, at most %s are allowed: settle it", [
		about(statement),
		days,
		input.args.max_investigation_days,
	])
}

violations contains {"message": message, "vulnerability": identifier(statement)} if {
	some statement in current
	statement.status == "affected"
	object.get(statement, "action_statement", "") == ""
	message := sprintf("%s is affected, and the statement does not say what to do: add an action_statement", [about(statement)])
}

violations contains {"message": message, "vulnerability": identifier(statement)} if {
	some statement in current
	statement.status == "not_affected"
	object.get(statement, "justification", "") == ""
	object.get(statement, "impact_statement", "") == ""
	message := sprintf("%s is said to be not affected, without a reason: add a justification or an impact_statement", [about(statement)])
}
