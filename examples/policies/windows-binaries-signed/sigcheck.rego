package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if count(input.elements) > 0

default skip_reason := ""

skip_reason := "sigcheck looked at no file" if not valid_input

path(file) := object.get(file, "Path", "a file without a path")

verdict(file) := object.get(file, "Verified", "nothing is said of it")

exempt(file) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(lower(pattern), ["/"], lower(replace(path(file), `\`, "/")))
}

violations contains {"message": message, "location": path(file)} if {
	some file in input.elements
	not exempt(file)
	verdict(file) != "Signed"
	message := sprintf("%s is not signed validly: %s", [path(file), verdict(file)])
}

violations contains {"message": message, "location": path(file)} if {
	some file in input.elements
	verdict(file) == "Signed"
	publisher := object.get(file, "Publisher", "nobody")
	not publisher in as_list(object.get(input.args, "publishers", [publisher]))
	message := sprintf("%s is signed by %s, who is none of %s", [path(file), publisher, concat(", ", as_list(input.args.publishers))])
}
