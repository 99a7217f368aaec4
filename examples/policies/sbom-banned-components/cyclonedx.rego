package main

import rego.v1

valid_input if input.bomFormat == "CycloneDX"

# Components nest. metadata.component is the product: what is banned may be the product itself, or nested in it. The ancestors
# in a component's pedigree and the tools that made the SBOM are not part of the product.
components contains component if {
	some root in [["components"], ["metadata", "component"]]
	walk(object.get(input, root, []), [path, component])
	is_object(component)
	every key in path { nesting(key) }
}

nesting(key) if key == "components"

nesting(key) if is_number(key)

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

# A package URL without its version, and the version: pkg:npm/%40angular/core@17.0.1?arch=x -> pkg:npm/@angular/core and 17.0.1.
# The @ of a scope follows a slash.
name_in(purl) := plain(regex.replace(purl, `([^/])[@?#].*$`, "${1}"))

version_in(purl) := trim_left(trim_prefix(regex.replace(plain(purl), `[?#].*$`, ""), name_in(purl)), "@")

plain(text) := replace(text, "%40", "@")

names(component) := {component.name, group_and_name(component), name_in(given(component, "purl", ""))} - {""}

group_and_name(component) := trim_left(sprintf("%s/%s", [given(component, "group", ""), component.name]), "/")

versions(component) := {given(component, "version", ""), version_in(given(component, "purl", ""))} - {""}

banned_by(component, entry) if plain(entry) in names(component)

banned_by(component, entry) if {
	some name in names(component)
	some version in versions(component)
	plain(entry) == sprintf("%s@%s", [name, version])
}

# A component without a version could be of the one that is banned.
banned_by(component, entry) if {
	count(versions(component)) == 0
	some name in names(component)
	startswith(plain(entry), sprintf("%s@", [name]))
}

violations contains {"message": message, "component": label, "banned": entry} if {
	some component in components
	some entry in as_list(input.args.components)
	banned_by(component, entry)
	label := sprintf("%s@%s", [component.name, given(component, "version", "?")])
	message := sprintf("component %s is banned by the entry %q: remove it, or move to a version that is not listed", [label, entry])
}
