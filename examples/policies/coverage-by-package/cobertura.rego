package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if count(input.packages) > 0

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

# Lines stand under the class, or only under its methods.
lines_of(class) := array.concat(class.lines, [line | some method in class.methods; some line in method.lines])

lines(package_) := {[file(class), line.number, object.get(line, "hits", 0) > 0] |
	some class in package_.classes
	some line in lines_of(class)
}

# Classes that do not name their file are told apart by their own name.
file(class) := name if {
	name := class.filename
	name != ""
} else := class.name

# The same file may stand under several classes: a line counts once, and is covered if any of them says so.
covered(package_) := {[file, number] | some [file, number, hit] in lines(package_); hit}

total(package_) := {[file, number] | some [file, number, _] in lines(package_)}

percent(part, whole) := round((count(part) * 1000) / count(whole)) / 10

violations contains {"message": message, "package": package_.name} if {
	some package_ in input.packages
	not exempt(package_.name)
	count(total(package_)) > 0
	count(covered(package_)) * 100 < to_number(input.args.min_line) * count(total(package_))
	message := sprintf("package %s: line coverage is %v %% (%d of %d), below the floor of %s %%", [
		package_.name,
		percent(covered(package_), total(package_)),
		count(covered(package_)),
		count(total(package_)),
		input.args.min_line,
	])
}

# A package whose lines are not listed has a rate all the same: 0 and 1 may mean that there is nothing to cover.
violations contains {"message": message, "package": package_.name} if {
	some package_ in input.packages
	not exempt(package_.name)
	count(total(package_)) == 0
	is_share(package_["line-rate"])
	round(package_["line-rate"] * 1000000) < round(to_number(input.args.min_line) * 10000)
	message := sprintf("package %s: line coverage is %v %%, below the floor of %s %%", [
		package_.name,
		round(package_["line-rate"] * 1000) / 10,
		input.args.min_line,
	])
}

is_share(rate) if {
	rate > 0
	rate < 1
}

has_branches(package_) if {
	some class in package_.classes
	some line in lines_of(class)
	line.branch == true
}

has_branches(package_) if is_share(package_["branch-rate"])

branch_rate(package_) := rate if {
	rate := package_["branch-rate"]
	is_number(rate)
} else := 0

violations contains {"message": message, "package": package_.name} if {
	some package_ in input.packages
	not exempt(package_.name)
	has_branches(package_)
	branch_rate(package_) * 100 < to_number(input.args.min_branch)
	message := sprintf("package %s: branch coverage is %v %%, below the floor of %s %%", [
		package_.name,
		round(branch_rate(package_) * 1000) / 10,
		input.args.min_branch,
	])
}
