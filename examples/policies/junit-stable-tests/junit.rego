package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# Suites nest, so the tests are looked for at any depth.
tests := [test |
	walk(input.elements, [path, test])
	path[count(path) - 2] == "tests"
]

valid_input if count(tests) > 0

label(test) := sprintf("%s::%s", [test.classname, test.name])

in_quarantine(name) if {
	some pattern in as_list(object.get(input.args, "quarantine", []))
	glob.match(pattern, null, name)
}

outcomes[name] contains outcome if {
	some test in tests
	test.status != "skipped"
	name := label(test)
	outcome := kind[test.status]
}

kind := {"passed": "passed", "failed": "failed", "error": "failed"}

violations contains {"message": message, "test": name} if {
	some name, seen in outcomes
	count(seen) > 1
	not in_quarantine(name)
	message := sprintf("%s passed and failed in the same report: it is not stable; mend it, or put it into quarantine", [name])
}

violations contains {"message": message, "test": label(test)} if {
	some test in tests
	seconds := test.duration / 1000000000
	seconds > to_number(input.args.max_seconds)
	message := sprintf("%s took %v s, at most %s s are allowed", [label(test), round(seconds * 10) / 10, input.args.max_seconds])
}

violations contains {"message": message, "test": label(test)} if {
	some test in tests
	test.status == "skipped"
	trim_space(test.message) == ""
	not in_quarantine(label(test))
	message := sprintf("%s was skipped without a reason: say why in the test", [label(test)])
}
