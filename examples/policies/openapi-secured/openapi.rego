package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

methods := {"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

operations[sprintf("%s %s", [upper(method), path])] := operation if {
	some path, item in input.paths
	some method, operation in item
	method in methods
}

valid_input if count(operations) > 0

is_public(name) if {
	some pattern in as_list(object.get(input.args, "public", []))
	glob.match(pattern, null, name)
}

# An operation's own security takes the place of the document's; an empty requirement lets everybody in.
security(operation) := object.get(operation, "security", object.get(input, "security", []))

schemes := object.get(input, ["components", "securitySchemes"], {})

kind(scheme) := lower(scheme.scheme) if {
	scheme.type == "http"
} else := scheme.type

banned(name) if kind(schemes[name]) in as_list(input.args.banned_schemes)

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
	banned(scheme)
	message := sprintf("%s is satisfied with %s (%s), which does not count", [name, scheme, kind(schemes[scheme])])
}

# Addresses relative to that of the document are as safe as it is.
violations contains {"message": message} if {
	some server in input.servers
	startswith(lower(server.url), "http://")
	message := sprintf("the server %s is not encrypted: use https", [server.url])
}
