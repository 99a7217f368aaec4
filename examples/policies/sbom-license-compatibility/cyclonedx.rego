# What is known to conflict. It is no legal advice, and what is not in the table is for the policy sbom-banned-licenses.
package main

import rego.v1

valid_input if count(object.get(input, "components", [])) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

families := {
	"strong copyleft, version 2 only": ["GPL-2.0", "GPL-2.0-only"],
	"strong copyleft, version 2 or later": ["GPL-2.0+", "GPL-2.0-or-later"],
	"strong copyleft, version 3": ["GPL-3.0", "GPL-3.0+", "GPL-3.0-only", "GPL-3.0-or-later"],
	"network copyleft": ["AGPL-3.0", "AGPL-3.0-only", "AGPL-3.0-or-later", "SSPL-1.0"],
	"patent clauses": ["Apache-2.0"],
	"advertising clause": ["BSD-4-Clause", "BSD-4-Clause-UC", "OpenSSL"],
}

family_of[license] := family if {
	some family, licenses in families
	some license in licenses
}

copyleft := {family | some family in object.keys(families); contains(family, "copyleft")}

# What may not go into a product under these licences.
conflicts(product) := object.get(
	{
		"strong copyleft, version 2 only": {"strong copyleft, version 3", "network copyleft", "patent clauses", "advertising clause"},
		"strong copyleft, version 2 or later": {"network copyleft", "advertising clause"},
		"strong copyleft, version 3": {"strong copyleft, version 2 only", "advertising clause"},
		"network copyleft": {"strong copyleft, version 2 only", "advertising clause"},
	},
	object.get(family_of, product, "permissive or proprietary"),
	copyleft,
)

name_of(choice) := choice.license.id if {
	choice.license.id
} else := choice.license.name

# Of an expression with OR one may choose; each way out has licences that all hold.
ways(component) := [{trim(license, " ()") | some license in split(way, " AND ")} | some way in split(expression, " OR ")] if {
	expression := component.licenses[0].expression
} else := [{name_of(choice) | some choice in object.get(component, "licenses", [])}]

conflicting(way) := {license |
	some license in way
	family_of[license] in conflicts(input.args.product_license)
}

violations contains {
	"message": message,
	"component_name": component.name,
	"component_version": object.get(component, "version", ""),
	"license_id": license,
} if {
	some component in input.components
	not component.name in as_list(object.get(input.args, "accepted", []))
	every way in ways(component) {
		count(conflicting(way)) > 0
	}
	license := concat(" AND ", sort(conflicting(ways(component)[0])))
	message := sprintf("%s %s is under %s, which may not go into a product under %s", [
		component.name,
		object.get(component, "version", ""),
		license,
		input.args.product_license,
	])
}
