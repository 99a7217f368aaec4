# What is known to conflict. It is no legal advice, and what is not in the table is for the policy sbom-banned-licenses.
package main

import rego.v1

valid_input if count(components - {main}) > 0

# If the SBOM has nothing but the product, the licence that it gives for it may conflict nevertheless.
valid_input if count(violations) > 0

main := object.get(input, ["metadata", "component"], null)

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

# By the identifier in lower case.
family_of[lower(license)] := family if {
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
	object.get(family_of, lower(product), "permissive or proprietary"),
	copyleft,
)

# Components nest. metadata.component is the product: the SBOM may give another licence for it than the input, or for what is
# nested in it. The ancestors in a component's pedigree and the tools that made the SBOM are not part of the product.
components contains component if {
	some root in [["components"], ["metadata", "component"]]
	walk(object.get(input, root, []), [path, component])
	is_object(component)
	every key in path { nesting(key) }
}

nesting(key) if key == "components"

nesting(key) if is_number(key)

# Of an expression with OR one may choose; each way out has licences that all hold. One with parentheses inside counts as a
# single way, which errs on the side of asking.
ways(choice) := [parts(way, `\s+(?i:and)\s+`) | some way in regex.split(`\s+(?i:or)\s+`, expression)] if {
	is_string(choice.expression)
	expression := trim(choice.expression, " ()")
	not regex.match(`[()]`, expression)
} else := [parts(choice.expression, `[()]|\s+(?i:and|or)\s+`)] if {
	is_string(choice.expression)
} else := [{name}] if {
	name := choice.license.id
	is_string(name)
} else := [{name}] if {
	name := choice.license.name
}

parts(text, border) := {trim_space(license) | some license in regex.split(border, text)}

conflicting(way) := {license |
	some license in way
	family_of[lower(license)] in conflicts(input.args.product_license)
}

# All licences that are listed hold; one without a way out is enough.
hopeless(component) := {license |
	some choice in component.licenses
	every way in ways(choice) { count(conflicting(way)) > 0 }
	some license in conflicting(ways(choice)[0])
}

violations contains {
	"message": message,
	"component_name": component.name,
	"component_version": version,
	"license_id": license,
} if {
	some component in components
	not component.name in as_list(object.get(input.args, "accepted", []))
	count(hopeless(component)) > 0
	version := version_of(component)
	license := concat(" AND ", sort(hopeless(component)))
	message := sprintf("%s is under %s, which may not go into a product under %s", [
		trim_space(sprintf("%s %s", [component.name, version])),
		license,
		input.args.product_license,
	])
}

version_of(component) := text if {
	text := component.version
	is_string(text)
} else := ""
