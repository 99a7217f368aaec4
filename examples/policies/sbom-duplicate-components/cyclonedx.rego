package main

import rego.v1

valid_input if count(components) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

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

# Components of the same name in different groups or ecosystems have nothing to do with each other. The @ of a scope follows a
# slash: pkg:npm/@angular/core@17.0.1 is pkg:npm/@angular/core.
key(component) := regex.replace(purl, `([^/])[@?#].*$`, "${1}") if {
	purl := component.purl
	is_string(purl)
} else := concat("/", [part | some part in [given(component, "group", ""), component.name]; part != ""])

version(component) := text if {
	text := component.version
	not text in {"", null}
} else := text if {
	[_, text] := split(trim_prefix(regex.replace(component.purl, `[?#].*$`, ""), key(component)), "@")
}

versions[name] contains text if {
	some component in components
	text := version(component)
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
