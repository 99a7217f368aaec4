package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

methods := {"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

# What stands elsewhere in the document, by the place and the name that a reference gives.
target(node, where) := found if {
	found := input.components[where][trim_prefix(node["$ref"], sprintf("#/components/%s/", [where]))]
}

item(entry) := whole if {
	whole := object.union(entry, target(entry, "pathItems"))
} else := entry

operations[name] := operation if {
	some path, entry in input.paths
	some method, operation in item(entry)
	method in methods
	is_object(operation)
	name := sprintf("%s %s", [upper(method), path])
}

operations[name] := operation if {
	some path, entry in input.paths
	some method, operation in item(entry).additionalOperations
	name := sprintf("%s %s", [method, path])
}

violations contains {"message": message} if {
	some path, entry in input.paths
	entry["$ref"]
	not target(entry, "pathItems")
	message := sprintf("%s is described in %v, which is not looked at: put it into the document", [path, entry["$ref"]])
}

valid_input if count(operations) > 0

is_public(name) if {
	some pattern in as_list(object.get(input.args, "public", []))
	glob.match(pattern, null, name)
}

# An operation's own security takes the place of the document's; an empty requirement lets everybody in.
security(operation) := requirements if {
	requirements := operation.security
	is_array(requirements)
} else := requirements if {
	requirements := input.security
	is_array(requirements)
} else := []

schemes := object.get(input, ["components", "securitySchemes"], {})

scheme_of(name) := found if {
	found := target(schemes[name], "securitySchemes")
} else := found if {
	found := schemes[name]
}

kind(name) := type if {
	scheme_of(name).type == "http"
	type := lower(scheme_of(name).scheme)
} else := type if {
	type := scheme_of(name).type
	type in {"apiKey", "mutualTLS", "oauth2", "openIdConnect"}
} else := "unknown"

banned(name) if lower(kind(name)) in {lower(scheme) | some scheme in as_list(input.args.banned_schemes)}

violations contains {"message": message, "operation": name} if {
	some name, operation in operations
	not is_public(name)
	count(security(operation)) == 0
	message := sprintf("%s demands no authentication: give it, or the document, a security requirement", [name])
}

violations contains {"message": message, "operation": name} if {
	some name, operation in operations
	not is_public(name)
	some requirement in security(operation)
	count(requirement) == 0
	message := sprintf("%s lets callers in without authentication: its security has an empty requirement", [name])
}

violations contains {"message": message, "operation": name} if {
	some name, operation in operations
	not is_public(name)
	some requirement in security(operation)
	some scheme in object.keys(requirement)
	not schemes[scheme]
	message := sprintf("%s demands %s, which is not among the security schemes of the document", [name, scheme])
}

violations contains {"message": message, "operation": name} if {
	some name, operation in operations
	not is_public(name)
	some requirement in security(operation)
	some scheme in object.keys(requirement)
	schemes[scheme]
	kind(scheme) == "unknown"
	message := sprintf("%s is satisfied with %s, of which the document does not say what it is", [name, scheme])
}

violations contains {"message": message, "operation": name} if {
	some name, operation in operations
	not is_public(name)
	some requirement in security(operation)
	some scheme in object.keys(requirement)
	banned(scheme)
	message := sprintf("%s is satisfied with %s (%s), which does not count", [name, scheme, kind(scheme)])
}

servers := array.concat(
	[server | some server in input.servers],
	array.concat(
		[server | some entry in input.paths; some server in item(entry).servers],
		[server | some operation in operations; some server in operation.servers],
	),
)

# What a server's address may begin with; a variable may stand there.
beginnings(server) := [server.url] if {
	not startswith(server.url, "{")
} else := [text |
	some name, variable in server.variables
	startswith(server.url, sprintf("{%s}", [name]))
	some text in array.concat([object.get(variable, "default", "")], object.get(variable, "enum", []))
]

# Addresses relative to that of the document are as safe as it is.
violations contains {"message": message} if {
	some server in servers
	some text in beginnings(server)
	regex.match(`(?i)^http(://|$)`, text)
	message := sprintf("the server %s is not encrypted: use https", [server.url])
}
