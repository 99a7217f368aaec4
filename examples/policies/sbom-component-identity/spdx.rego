# SPDX 2. Documents of SPDX 3, which are graphs, are skipped.
package main

import rego.v1

valid_input if count([package_ | some package_ in input.packages]) > 0

default skip_reason := ""

skip_reason := "the SBOM has no packages of SPDX 2" if not valid_input

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

exempt(name) if {
	some pattern in as_list(object.get(input.args, "exempt", []))
	glob.match(pattern, null, name)
}

demanded(what) if what in as_list(input.args.demand)

violations contains message if {
	some what in as_list(input.args.demand)
	not what in {"purl", "hash", "supplier"}
	message := sprintf("the input demand has the entry %q: it must be purl, hash or supplier", [what])
}

packages := [package_ |
	some package_ in input.packages
	not exempt(package_.name)
]

label(package_) := sprintf("%s %s", [package_.name, object.get(package_, "versionInfo", "(no version)")])

purls(package_) := [reference.referenceLocator |
	some reference in package_.externalRefs
	reference.referenceType == "purl"
]

strong := {"SHA256", "SHA384", "SHA512", "SHA3-256", "SHA3-384", "SHA3-512", "BLAKE2b-256", "BLAKE2b-384", "BLAKE2b-512", "BLAKE3"}

violations contains {"message": message, "component": package_.name} if {
	demanded("purl")
	some package_ in packages
	count(purls(package_)) == 0
	message := sprintf("%s has no package URL: add its purl", [label(package_)])
}

violations contains {"message": message, "component": package_.name} if {
	demanded("hash")
	some package_ in packages
	not hashed(package_)
	message := sprintf("%s has no hash of at least 256 bits", [label(package_)])
}

hashed(package_) if {
	some checksum in package_.checksums
	checksum.algorithm in strong
}

violations contains {"message": message, "component": package_.name} if {
	demanded("supplier")
	some package_ in packages
	object.get(package_, "supplier", "NOASSERTION") in {"", "NOASSERTION", null}
	message := sprintf("%s has no supplier", [label(package_)])
}
