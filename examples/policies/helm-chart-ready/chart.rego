package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if input.chart.name

label := sprintf("chart %s %s", [input.chart.name, input.chart.version])

violations contains message if {
	not semver.is_valid(trim_prefix(input.chart.version, "v"))
	message := sprintf("%s: the version is no semantic version", [label])
}

is_given(member) if {
	value := input.chart[member]
	not value in ["", [], null]
}

violations contains message if {
	some member in as_list(input.args.demand)
	not is_given(member)
	message := sprintf("%s: Chart.yaml has no %s", [label, member])
}

violations contains message if {
	input.chart.deprecated == true
	message := sprintf("%s is deprecated", [label])
}

# Wherever values.yaml has `image`, as one text or in parts.
images contains {"at": at, "tag": tag} if {
	walk(object.get(input, "values", {}), [path, value])
	path[count(path) - 1] == "image"
	at := concat(".", [sprintf("%v", [step]) | some step in path])
	tag := tag_of(value)
}

# What stands in a member of an image; one that is null or empty is as good as absent.
part(image, member) := sprintf("%v", [value]) if {
	is_object(image)
	value := object.get(image, member, null)
	not value in ["", null]
} else := ""

tag_of(image) := tag if {
	tag := part(image, "tag")
	tag != ""
} else := "pinned" if {
	part(image, "digest") != ""
} else := tag if {
	some name in [image, part(image, "repository"), part(image, "name")]
	is_string(name)
	tag := tag_in(name)
} else := "none"

# What follows the last colon behind the last slash: one before it is of the port of a registry.
tag_in(name) := "pinned" if {
	contains(name, "@sha256:")
} else := tag if {
	parts := split(regex.replace(name, "^.*/", ""), ":")
	count(parts) > 1
	tag := parts[count(parts) - 1]
	tag != ""
}

# Without a tag the chart takes its appVersion, by custom.
violations contains message if {
	some image in images
	image.tag in as_list(input.args.banned_tags)
	message := sprintf("%s: values.yaml, %s: the tag %s says nothing, since it is moved", [label, image.at, image.tag])
}

violations contains message if {
	some image in images
	image.tag == "none"
	not is_given("appVersion")
	message := sprintf("%s: values.yaml, %s: no tag, and no appVersion to take for it", [label, image.at])
}
