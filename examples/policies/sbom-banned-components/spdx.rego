package main

import rego.v1

valid_input if startswith(input.spdxVersion, "SPDX-2")

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# A package URL without its version, and the version: pkg:npm/%40angular/core@17.0.1?arch=x -> pkg:npm/@angular/core and 17.0.1.
# The @ of a scope follows a slash.
name_in(purl) := plain(regex.replace(purl, `([^/])[@?#].*$`, "${1}"))

version_in(purl) := trim_left(trim_prefix(regex.replace(plain(purl), `[?#].*$`, ""), name_in(purl)), "@")

plain(text) := replace(text, "%40", "@")

purls(pkg) := {reference.referenceLocator |
	some reference in pkg.externalRefs
	reference.referenceType == "purl"
}

names(pkg) := {pkg.name} | {name_in(purl) | some purl in purls(pkg)}

versions(pkg) := {version |
	some version in {object.get(pkg, "versionInfo", "")} | {version_in(purl) | some purl in purls(pkg)}
	not version in {"", "NOASSERTION", null}
}

banned_by(pkg, entry) if plain(entry) in names(pkg)

banned_by(pkg, entry) if {
	some name in names(pkg)
	some version in versions(pkg)
	plain(entry) == sprintf("%s@%s", [name, version])
}

# A package without a version could be of the one that is banned.
banned_by(pkg, entry) if {
	count(versions(pkg)) == 0
	some name in names(pkg)
	startswith(plain(entry), sprintf("%s@", [name]))
}

violations contains {"message": message, "component": label, "banned": entry} if {
	some pkg in input.packages
	some entry in as_list(input.args.components)
	banned_by(pkg, entry)
	label := sprintf("%s@%s", [pkg.name, object.get(pkg, "versionInfo", "?")])
	message := sprintf("package %s (%s) is banned by the entry %q: remove it, or move to a version that is not listed", [
		label,
		pkg.SPDXID,
		entry,
	])
}
