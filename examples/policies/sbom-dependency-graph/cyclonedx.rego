package main

import rego.v1

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

valid_input if count(given(input, "components", [])) > 0

default skip_reason := ""

skip_reason := "the SBOM has no components" if not valid_input

product := given(input, ["metadata", "component", "bom-ref"], "")

needs[dependency.ref] := {needed | some needed in dependency.dependsOn} if some dependency in input.dependencies

known contains reference if {
	walk(input.components, [_, component])
	component.type
	reference := component["bom-ref"]
}

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
edges := {node: object.get(needs, node, set()) | some node in known}

reached := graph.reachable(edges, {product})

violations contains {"message": message, "component": component.name} if {
	input.args.demand_all == "true"
	count(needs) > 0
	product != ""
	some component in input.components
	not component["bom-ref"] in reached
	message := sprintf("%s %s is not reached from the product: nothing says why it is there", [component.name, given(component, "version", "")])
}
