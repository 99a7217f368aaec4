package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

files := input.data.config_files

content(file) := base64.decode(file.content)

agent := input.data.agent.name

violations contains {"message": message} if {
	not agent in as_list(object.get(input.args, "agents", [agent]))
	message := sprintf("the agent %s is none of %s", [agent, concat(", ", as_list(input.args.agents))])
}

# What was collected is judged, so it must be what the digests say.
violations contains {"message": message, "location": file.path} if {
	some file in files
	crypto.sha256(content(file)) != lower(file.sha256)
	message := sprintf("%s is not what its digest says", [file.path])
}

violations contains {"message": message, "location": file.path, "rule_id": "banned-text", "severity": "HIGH"} if {
	some file in files
	some text in as_list(input.args.banned)
	contains(lower(content(file)), lower(text))
	message := sprintf("%s holds %s: take it out", [file.path, text])
}

violations contains {"message": message} if {
	some path in as_list(object.get(input.args, "demand_files", []))
	not path in {file.path | some file in files}
	message := sprintf("there is no %s: tell the agent the rules of the project in it", [path])
}

violations contains {"message": "there is no configuration file"} if count(files) == 0
