package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

image := input.chainloop_metadata.name

# `latest` where the reference has neither a tag nor a digest.
tag := object.get(input.chainloop_metadata.annotations, "chainloop.material.image.tag", "")

violations contains message if {
	not input.chainloop_metadata.digest.sha256
	message := sprintf("%s is not pinned: name it with its digest, as in %s@sha256:…", [image, image])
}

violations contains message if {
	tag in as_list(input.args.banned_tags)
	message := sprintf("the tag %s of %s says nothing, since it is moved: name the version", [tag, image])
}

violations contains message if {
	tag == ""
	input.args.demand_tag == "true"
	message := sprintf("%s has no tag: name the version beside the digest", [image])
}

allowed if {
	some registry in as_list(input.args.registries)
	startswith(image, sprintf("%s/", [trim_suffix(registry, "/")]))
}

violations contains message if {
	input.args.registries
	not allowed
	message := sprintf("%s does not come from an allowed registry: %s", [image, concat(", ", as_list(input.args.registries))])
}
