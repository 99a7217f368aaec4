package main

import rego.v1

valid_input if input.bomFormat == "CycloneDX"

components contains component if {
	walk(object.get(input, "components", []), [path, component])
	is_object(component)
	every key in path { nesting(key) }
}

nesting(key) if key == "components"

nesting(key) if is_number(key)

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# The ways of writing a component, each with and without its version.
names(component) := names_of(
	{component.name, group_and_name(component), unqualified(object.get(component, "purl", ""))},
	object.get(component, "version", ""),
)

names_of(bare, version) := (bare | {sprintf("%s@%s", [name, version]) | some name in bare}) - {""}

group_and_name(component) := sprintf("%s/%s", [component.group, component.name]) if component.group

group_and_name(component) := component.name if not component.group

# A package URL without version, qualifiers and subpath: pkg:npm/%40angular/core@17.0.1?arch=x -> pkg:npm/%40angular/core
unqualified(purl) := regex.replace(purl, `[@?#].*$`, "")

violations contains {"message": message, "component": label, "banned": entry} if {
	some component in components
	some entry in as_list(input.args.components)
	entry in names(component)
	label := sprintf("%s@%s", [component.name, object.get(component, "version", "?")])
	message := sprintf("component %s is banned by the entry %q: remove it, or move to a version that is not listed", [label, entry])
}
