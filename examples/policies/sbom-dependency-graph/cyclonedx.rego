package main

import rego.v1

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

valid_input if count(components) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

product := given(input, ["metadata", "component", "bom-ref"], "")

needs[dependency.ref] := {needed | some needed in dependency.dependsOn} if some dependency in input.dependencies

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

# No dependency can name a component without a bom-ref, but it has its place in the graph.
node(component) := reference if {
	reference := component["bom-ref"]
	is_string(reference)
} else := json.marshal(component)

known contains node(component) if some component in components

known contains product if product != ""

violations contains "the SBOM does not say what needs what: it has no dependencies" if count(needs) == 0

violations contains "metadata.component has no bom-ref: nothing says what the product is" if product == ""

violations contains {"message": message, "component": reference} if {
	some reference, needed in needs
	some missing in needed - known
	message := sprintf("%s needs %s, which is no component of the SBOM", [reference, missing])
}

violations contains {"message": message, "component": reference} if {
	some reference in object.keys(needs)
	not reference in known
	message := sprintf("the dependencies are told of %s, which is no component of the SBOM", [reference])
}

# Who needs nothing may be left out of the dependencies.
edges[from] contains from if some from in known

edges[from] contains to if {
	some from in known
	some to in needs[from]
}

# What is nested in a component is a part of it, and so is what is nested in the product.
edges[from] contains to if {
	some whole in components | {main | main := input.metadata.component}
	some part in whole.components
	from := node(whole)
	to := node(part)
}

reached := graph.reachable(edges, {product})

violations contains {"message": message, "component": component.name} if {
	input.args.demand_all == "true"
	count(needs) > 0
	product != ""
	some component in components
	not node(component) in reached
	message := sprintf("%s %s is not reached from the product: nothing says why it is there", [component.name, given(component, "version", "")])
}
