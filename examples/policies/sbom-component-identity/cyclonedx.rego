package main

import rego.v1

valid_input if count(components) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

demanded(what) if what in as_list(input.args.demand)

violations contains message if {
	some what in as_list(input.args.demand)
	not what in {"purl", "hash", "supplier"}
	message := sprintf("the input demand has the entry %q: it must be purl, hash or supplier", [what])
}

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

considered contains component if {
	some component in components
	not exempt(component.name)
}

label(component) := sprintf("%s %s", [component.name, given(component, "version", "(no version)")])

strong := {"SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512", "BLAKE2b-256", "BLAKE2b-384", "BLAKE2b-512", "BLAKE3"}

violations contains {"message": message, "component": component.name} if {
	demanded("purl")
	some component in considered
	given(component, "purl", "") == ""
	message := sprintf("%s has no package URL: add its purl", [label(component)])
}

violations contains {"message": message, "component": component.name} if {
	demanded("purl")
	some component in considered
	given(component, "purl", "") != ""
	not fits(component)
	message := sprintf("%s has the package URL %s, which is of another version", [label(component), component.purl])
}

# Without a version there is nothing to compare.
fits(component) if given(component, "version", "") == ""

fits(component) if {
	some version in {component.version, urlquery.encode(component.version), replace(urlquery.encode(component.version), "%2B", "+")}
	endswith(regex.replace(component.purl, `[?#].*$`, ""), sprintf("@%s", [version]))
}

violations contains {"message": message, "component": component.name} if {
	demanded("hash")
	some component in considered
	not hashed(component)
	message := sprintf("%s has no hash of at least 256 bits", [label(component)])
}

hashed(component) if {
	some hash in component.hashes
	hash.alg in strong
}

violations contains {"message": message, "component": component.name} if {
	demanded("supplier")
	some component in considered
	given(component, ["supplier", "name"], given(component, "publisher", "")) == ""
	message := sprintf("%s has no supplier", [label(component)])
}
