package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if count(input.packages) > 0

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

lines(package_) := {[class.filename, line.number, line.hits > 0] |
	some class in package_.classes
	some line in class.lines
}

# The same file may stand under several classes: a line counts once, and is covered if any of them says so.
covered(package_) := {[file, number] | some [file, number, hit] in lines(package_); hit}

total(package_) := {[file, number] | some [file, number, _] in lines(package_)}

percent(part, whole) := round((count(part) * 1000) / count(whole)) / 10

violations contains {"message": message, "package": package_.name} if {
	some package_ in input.packages
	not exempt(package_.name)
	count(total(package_)) > 0
	reached := percent(covered(package_), total(package_))
	reached < to_number(input.args.min_line)
	message := sprintf("package %s: line coverage is %v %% (%d of %d), below the floor of %s %%", [
		package_.name,
		reached,
		count(covered(package_)),
		count(total(package_)),
		input.args.min_line,
	])
}

branches(package_) := [class |
	some class in package_.classes
	some line in class.lines
	line.branch == true
]

violations contains {"message": message, "package": package_.name} if {
	some package_ in input.packages
	not exempt(package_.name)
	count(branches(package_)) > 0
	package_["branch-rate"] * 100 < to_number(input.args.min_branch)
	message := sprintf("package %s: branch coverage is %v %%, below the floor of %s %%", [
		package_.name,
		round(package_["branch-rate"] * 1000) / 10,
		input.args.min_branch,
	])
}
