package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if count(input.elements) > 0

default skip_reason := ""

skip_reason := "sigcheck looked at no file" if not valid_input

path(file) := replace(file.Path, `\`, "/")

exempt(file) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(lower(pattern), ["/"], lower(path(file)))
}

violations contains {"message": message, "location": file.Path} if {
	some file in input.elements
	not exempt(file)
	file.Verified != "Signed"
	message := sprintf("%s is not signed validly: %s", [file.Path, file.Verified])
}

violations contains {"message": message, "location": file.Path} if {
	some file in input.elements
	file.Verified == "Signed"
	publisher := object.get(file, "Publisher", "nobody")
	not publisher in as_list(object.get(input.args, "publishers", [publisher]))
	message := sprintf("%s is signed by %s, who is none of %s", [file.Path, publisher, concat(", ", as_list(input.args.publishers))])
}
