package main

import rego.v1

valid_input if startswith(input.spdxVersion, "SPDX-2")

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

purls(pkg) := {regex.replace(reference.referenceLocator, `[@?#].*$`, "") |
	some reference in pkg.externalRefs
	reference.referenceType == "purl"
}

names(pkg) := bare | {sprintf("%s@%s", [name, object.get(pkg, "versionInfo", "")]) | some name in bare} if {
	bare := {pkg.name} | purls(pkg)
}

violations contains {"message": message, "component": label, "banned": entry} if {
	some pkg in input.packages
	some entry in as_list(input.args.components)
	entry in names(pkg)
	label := sprintf("%s@%s", [pkg.name, object.get(pkg, "versionInfo", "?")])
	message := sprintf("package %s (%s) is banned by the entry %q: remove it, or move to a version that is not listed", [
		label,
		pkg.SPDXID,
		entry,
	])
}
