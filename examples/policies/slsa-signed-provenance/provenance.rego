# The provenance is signed with a key, or by an identity, that the server trusts ([signatures] in its configuration), and the
# signed statement, SLSA provenance 0.2 or 1, is of the right origin.
package main

import rego.v1

# What is signed is the payload of the envelope, so that is what is judged.
statement := json.unmarshal(base64.decode(input.dsseEnvelope.payload))

valid_input if startswith(statement.predicateType, "https://slsa.dev/provenance/")

builder := id if {
	id := statement.predicate.runDetails.builder.id
	is_string(id)
} else := id if {
	id := statement.predicate.builder.id
	is_string(id)
}

# SLSA 1 names what was asked to be built among the external parameters; where the build type has no repository there,
# the dependencies that were resolved for it have to do.
repository := location if {
	location := statement.predicate.buildDefinition.externalParameters.workflow.repository
	is_string(location)
}

sources contains repository

# git+https://example.com/repository@refs/tags/v1 -> https://example.com/repository@refs/tags/v1
sources contains location if {
	not repository
	some source in statement.predicate.buildDefinition.resolvedDependencies
	location := trim_prefix(source.uri, "git+")
}

# SLSA 0.2
sources contains location if {
	not repository
	location := trim_prefix(statement.predicate.invocation.configSource.uri, "git+")
}

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

# What whoever evaluates found of the signature. One that does not look at signatures says nothing, and is not believed.
default signature := {"verified": false, "why_not": "the evaluator does not verify signatures"}

signature := input.chainloop_metadata.signature

violations contains message if {
	not signature.verified == true
	message := sprintf("the signature does not count: %s", [object.get(signature, "why_not", "nobody says why")])
}

violations contains message if {
	signature.verified == true
	input.args.signers
	signer := object.get(signature, ["by", "key"], "somebody without a name")
	not signer in as_list(input.args.signers)
	message := sprintf("the provenance is signed by %s: asked for are %s", [
		signer,
		concat(", ", as_list(input.args.signers)),
	])
}

violations contains "the provenance names no builder" if not builder

violations contains {"message": message, "builder": by} if {
	by := builder
	not trusted
	message := sprintf("the artifact was built by %s: trusted are %s", [by, concat(", ", as_list(input.args.builders))])
}

trusted if {
	some pattern in as_list(input.args.builders)
	glob.match(pattern, ["/"], builder)
}

violations contains {"message": message, "sources": sources} if {
	input.args.source
	not from_source
	message := sprintf("the artifact was built from %s: the source should be %s", [
		named_sources,
		input.args.source,
	])
}

named_sources := concat(", ", sort(sources)) if {
	count(sources) > 0
} else := "a source that it does not name"

# The prefix ends at a border, so that .../app does not let .../app-evil pass.
from_source if {
	some source in sources
	startswith(source, input.args.source)
	rest := trim_prefix(source, input.args.source)
	substring(rest, 0, 1) in {"", "/", "@", "#"}
}

# Without a digest the provenance speaks of no artifact in particular.
violations contains {"message": message, "subject": name} if {
	some subject in statement.subject
	not digested(subject, "sha256", 64)
	not digested(subject, "sha512", 128)
	name := object.get(subject, "name", "without a name")
	message := sprintf("the subject %s has neither a SHA-256 nor a SHA-512 digest", [name])
}

digested(subject, algorithm, length) if {
	digest := subject.digest[algorithm]
	is_string(digest)
	regex.match(sprintf(`^[0-9a-fA-F]{%d}$`, [length]), digest)
}

violations contains "the provenance is about nothing" if count(statement.subject) == 0
