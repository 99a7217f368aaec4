# Relies on the engine for result, skipped, skip_reason and ignore.
package main

import rego.v1

valid_input if startswith(input.spdxVersion, "SPDX-2")

stated(license) if not license in {"", "NOASSERTION", "NONE", null}

# What the supplier declared and what the reviewer concluded both answer the question.
licensed(pkg) if stated(object.get(pkg, "licenseDeclared", ""))

licensed(pkg) if stated(object.get(pkg, "licenseConcluded", ""))

exempt(pkg) if pkg.name in as_list(object.get(input.args, "exempt", []))

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

violations contains {"message": message, "component": label} if {
	some pkg in input.packages
	not licensed(pkg)
	not exempt(pkg)
	label := sprintf("%s@%s", [pkg.name, object.get(pkg, "versionInfo", "?")])
	message := sprintf(
		"package %s (%s) has neither licenseDeclared nor licenseConcluded: state an SPDX expression in one of them, or name it in the input exempt",
		[label, pkg.SPDXID],
	)
}
