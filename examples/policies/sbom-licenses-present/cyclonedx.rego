# Complete module: it defines every rule that the engine would otherwise add.
package main

import rego.v1

result := {
	"skipped": skipped,
	"skip_reason": skip_reason,
	"violations": violations,
	"ignore": ignore,
}

default ignore := false

default skip_reason := ""

skip_reason := "not a CycloneDX document" if not valid_input

default skipped := true

skipped := false if valid_input

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

states(component) if {
	some choice in component.licenses
	meaningful(object.get(choice, "expression", ""))
}

states(component) if {
	some choice in component.licenses
	meaningful(object.get(choice, ["license", "id"], ""))
}

states(component) if {
	some choice in component.licenses
	meaningful(object.get(choice, ["license", "name"], ""))
}

licensed(component) if states(component)

# A file or folder within a package, which a package URL names after #, comes under the licence of the package.
licensed(component) if {
	is_string(component.purl)
	[address, _] := split(component.purl, "#")
	address in packages
}

packages contains whole.purl if {
	some whole in components | {main | main := input.metadata.component}
	states(whole)
}

meaningful(text) if {
	is_string(text)
	not upper(trim_space(text)) in {"", "NOASSERTION", "NONE", "UNKNOWN"}
}

exempt(component) if component.name in as_list(object.get(input.args, "exempt", []))

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

violations contains {"message": message, "component": label(component)} if {
	valid_input
	some component in components
	not licensed(component)
	not exempt(component)
	message := sprintf(
		"component %s declares no licence: give it an SPDX identifier in licenses, or name it in the input exempt",
		[label(component)],
	)
}

label(component) := purl if {
	purl := component.purl
	is_string(purl)
} else := sprintf("%s@%s", [component.name, object.get(component, "version", "?")])
