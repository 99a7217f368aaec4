package main

import rego.v1

valid_input if is_array(input.statements)

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

# OpenVEX 0.2 has an object here, the drafts before it a string.
identifier(statement) := id if {
	id := statement.vulnerability
	is_string(id)
} else := id if {
	id := statement.vulnerability.name
}

identifiers(statement) := {identifier(statement)} | {alias | some alias in statement.vulnerability.aliases}

# A statement inherits the document's timestamp.
made(statement) := time.parse_rfc3339_ns(given(statement, "timestamp", input.timestamp))

products(statement) := given(statement, "products", [])

# The drafts have a string here, too. One without an id is all that is said of it.
name_of(product) := product if {
	is_string(product)
} else := id if {
	id := product["@id"]
	is_string(id)
} else := json.marshal(product)

parts(product) := {name_of(part) | some part in product.subcomponents}

# Whether a statement is about the whole of a product, or about those of its parts that are named.
covers(statement, product) if {
	some other in products(statement)
	name_of(other) == name_of(product)
	count(parts(other)) == 0
}

covers(statement, product) if {
	some other in products(statement)
	name_of(other) == name_of(product)
	count(parts(product)) > 0
	count(parts(product) - parts(other)) == 0
}

# The latest statement about a vulnerability in a product is the one that holds. One that names no product could be about any.
superseded(statement) if {
	some later in input.statements
	identifier(later) == identifier(statement)
	made(later) > made(statement)
	count(products(statement)) > 0
	every product in products(statement) { covers(later, product) }
}

superseded(statement) if {
	some later in input.statements
	identifier(later) == identifier(statement)
	made(later) > made(statement)
	count(products(statement)) + count(products(later)) == 0
}

current := [statement |
	some statement in input.statements
	not superseded(statement)
]

answered := union({identifiers(statement) | some statement in current})

about(statement) := sprintf("%s in %s", [identifier(statement), concat(", ", sort({name_of(product) | some product in products(statement)}))]) if {
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
	given(statement, "action_statement", "") == ""
	message := sprintf("%s is affected, and the statement does not say what to do: add an action_statement", [about(statement)])
}

violations contains {"message": message, "vulnerability": identifier(statement)} if {
	some statement in current
	statement.status == "not_affected"
	given(statement, "justification", "") == ""
	given(statement, "impact_statement", "") == ""
	message := sprintf("%s is said to be not affected, without a reason: add a justification or an impact_statement", [about(statement)])
}
