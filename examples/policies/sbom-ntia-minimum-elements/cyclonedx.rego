package main

import rego.v1

valid_input if input.bomFormat == "CycloneDX"

# Components nest, also in the product, which is metadata.component. The ancestors in a component's pedigree and the tools that
# made the SBOM are not part of the product.
components contains component if {
	some root in [["components"], ["metadata", "component", "components"]]
	walk(object.get(input, root, []), [path, component])
	is_object(component)
	every key in path { nesting(key) }
}

nesting(key) if key == "components"

nesting(key) if is_number(key)

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

waived contains element if some element in as_list(object.get(input.args, "waive", []))

present(component, member) if not object.get(component, member, "") in {"", [], {}, null}

has(component, "version") if present(component, "version")

# Whoever supplies a component stands in one of these, by the version of CycloneDX and the ecosystem.
has(component, "supplier") if {
	some member in [["supplier", "name"], ["manufacturer", "name"], "publisher", "author", "authors"]
	present(component, member)
}

# A bom-ref is unique inside the document only, and so is no identifier.
has(component, "identifier") if {
	some member in ["purl", "cpe", "swid", "omniborId", "swhid"]
	present(component, member)
}

related contains entry.ref if some entry in input.dependencies

related contains ref if {
	some entry in input.dependencies
	some ref in entry.dependsOn
}

has(component, "relationship") if component["bom-ref"] in related

missing(component) := [element |
	some element in ["supplier", "version", "identifier", "relationship"]
	not element in waived
	not has(component, element)
]

violations contains {"message": message, "component": label, "missing": missing(component)} if {
	some component in components
	count(missing(component)) > 0
	label := sprintf("%s@%s", [component.name, object.get(component, "version", "?")])
	message := sprintf("component %s lacks: %s", [label, concat(", ", missing(component))])
}

violations contains "the SBOM does not say when it was made: set metadata.timestamp" if {
	not "timestamp" in waived
	not present(input, ["metadata", "timestamp"])
}

violations contains "the SBOM does not say who made it: set metadata.authors, metadata.manufacturer, metadata.supplier or metadata.tools" if {
	not "author" in waived
	not authored
}

authored if {
	some member in ["authors", "manufacturer", "manufacture", "supplier", "tools"]
	present(input, ["metadata", member])
}
