package main

import rego.v1

# SPDX 2 makes author (creators), timestamp (created) and name mandatory: a document without them is refused before
# it comes here.
valid_input if startswith(input.spdxVersion, "SPDX-2")

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

waived contains element if some element in as_list(object.get(input.args, "waive", []))

has(pkg, "version") if not object.get(pkg, "versionInfo", "") in {"", null}

has(pkg, "supplier") if not object.get(pkg, "supplier", "NOASSERTION") in {"", "NOASSERTION", null}

has(pkg, "identifier") if {
	some reference in pkg.externalRefs
	reference.referenceType in {"purl", "cpe22Type", "cpe23Type", "swid", "gitoid", "swh"}
}

related contains relationship.spdxElementId if some relationship in input.relationships

related contains relationship.relatedSpdxElement if some relationship in input.relationships

has(pkg, "relationship") if pkg.SPDXID in related

missing(pkg) := [element |
	some element in ["supplier", "version", "identifier", "relationship"]
	not element in waived
	not has(pkg, element)
]

violations contains {"message": message, "component": label, "missing": missing(pkg)} if {
	some pkg in input.packages
	count(missing(pkg)) > 0
	label := sprintf("%s@%s", [pkg.name, object.get(pkg, "versionInfo", "?")])
	message := sprintf("package %s (%s) lacks: %s", [label, pkg.SPDXID, concat(", ", missing(pkg))])
}
