package main

import rego.v1

valid_input if count(object.get(input, "components", [])) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

# Components of the same name in different groups or ecosystems have nothing to do with each other.
key(component) := split(component.purl, "@")[0] if {
	not startswith(component.purl, "pkg:npm/%40")
	component.purl
} else := concat("@", array.slice(split(component.purl, "@"), 0, count(split(component.purl, "@")) - 1)) if {
	component.purl
} else := concat("/", [part | some part in [object.get(component, "group", ""), component.name]; part != ""])

versions[name] contains component.version if {
	some component in input.components
	component.version
	name := key(component)
	not exempt(component.name)
}

major(version) := concat(".", array.slice(parts, 0, 2)) if {
	parts := split(version, ".")
	parts[0] == "0"
} else := split(version, ".")[0]

kinds(found) := {major(version) | some version in found} if {
	input.args.only_major == "true"
} else := found

violations contains {"message": message, "component": name, "versions": sort(found)} if {
	some name, found in versions
	count(kinds(found)) > to_number(input.args.max_versions)
	message := sprintf("%s is there in %d versions, at most %s are allowed: %s", [
		name,
		count(kinds(found)),
		input.args.max_versions,
		concat(", ", sort(found)),
	])
}
