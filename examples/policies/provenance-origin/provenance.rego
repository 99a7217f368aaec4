# SLSA provenance 0.2 and 1 in a DSSE envelope. Of an attestation, policies see the statement.
package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if startswith(input.predicateType, "https://slsa.dev/provenance/")

default skip_reason := ""

skip_reason := sprintf("a statement of the type %s is no provenance", [input.predicateType]) if not valid_input

builder := id if {
	id := input.predicate.runDetails.builder.id
	is_string(id)
} else := id if {
	id := input.predicate.builder.id
	is_string(id)
} else := "nobody"

# git+https://github.com/example/shop@refs/tags/v1 -> the repository and refs/tags/v1
origins contains {"source": trim_suffix(source, ".git"), "ref": ref} if {
	some uri in uris
	[source, ref] := split(trim_prefix(uri, "git+"), "@")
}

origins contains {"source": trim_suffix(trim_prefix(uri, "git+"), ".git"), "ref": "none"} if {
	some uri in uris
	not contains(uri, "@")
}

# SLSA 1 names what was asked to be built among the external parameters. Where the build type has no repository there, the
# dependencies that were resolved for it, or what SLSA 0.2 has, must do.
workflow := ["predicate", "buildDefinition", "externalParameters", "workflow"]

repository := object.get(input, array.concat(workflow, ["repository"]), null)

ref_of_repository := object.get(input, array.concat(workflow, ["ref"]), "none")

uris contains sprintf("%s@%s", [repository, ref_of_repository]) if is_string(repository)

uris contains uri if {
	not is_string(repository)
	some dependency in input.predicate.buildDefinition.resolvedDependencies
	uri := dependency.uri
}

uris contains uri if {
	not is_string(repository)
	uri := input.predicate.invocation.configSource.uri
}

matches(text, name) if {
	some pattern in as_list(input.args[name])
	glob.match(pattern, null, text)
}

violations contains {"message": message, "builder": builder} if {
	not matches(builder, "builders")
	message := sprintf("it was built by %s, who is not among the trusted builders", [builder])
}

violations contains {"message": message} if {
	input.args.sources
	not from_source
	message := sprintf("it was built from %s, and not from %s", [names("source"), concat(", ", as_list(input.args.sources))])
}

from_source if {
	some origin in origins
	matches(origin.source, "sources")
}

violations contains {"message": message} if {
	input.args.refs
	not from_ref
	message := sprintf("it was built from %s, and not from %s", [names("ref"), concat(", ", as_list(input.args.refs))])
}

# The branch must be one of the source that is asked for, not of any dependency.
from_ref if {
	some origin in origins
	matches(origin.ref, "refs")
	is_source(origin)
}

is_source(_) if not input.args.sources

is_source(origin) if matches(origin.source, "sources")

names(member) := concat(", ", found) if {
	found := {origin[member] | some origin in origins}
	count(found) > 0
} else := "nothing that it names"

violations contains {"message": message} if {
	some subject in input.subject
	not is_digest(object.get(subject, ["digest", "sha256"], ""))
	message := sprintf("%s is not named by its SHA-256 digest", [object.get(subject, "name", "a subject")])
}

is_digest(text) if {
	is_string(text)
	regex.match(`^[0-9a-fA-F]{64}$`, text)
}

violations contains {"message": "the provenance is about nothing"} if count(object.get(input, "subject", [])) == 0

# Without a verified signature, anybody can have written the provenance.
violations contains {"message": message} if {
	object.get(input.args, "allow_unsigned", "false") != "true"
	signature := object.get(input.chainloop_metadata, "signature", {})
	object.get(signature, "verified", false) != true
	message := sprintf("its signature does not count: %s", [object.get(signature, "why_not", "there is none")])
}
