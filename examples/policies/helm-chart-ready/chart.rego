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

# Wherever values.yaml has `image`, with the tag in it or beside it.
images contains {"at": concat(".", [sprintf("%v", [part]) | some part in path]), "tag": tag_of(value)} if {
	walk(object.get(input, "values", {}), [path, value])
	path[count(path) - 1] == "image"
}

tag_of(image) := sprintf("%v", [image.tag]) if {
	is_object(image)
	image.tag != ""
} else := "none" if {
	is_object(image)
	not image.digest
} else := "pinned" if {
	is_string(image)
	contains(image, "@sha256:")
} else := tag if {
	is_string(image)
	[_, tag] := split(image, ":")
} else := "pinned" if {
	is_object(image)
} else := "none"

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
