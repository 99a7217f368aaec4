package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

session := input.data

label := sprintf("session %s", [session.session.id])

agent := session.agent.name

violations contains {"message": message} if {
	not agent in as_list(object.get(input.args, "agents", [agent]))
	message := sprintf("%s: the agent %s is none of %s", [label, agent, concat(", ", as_list(input.args.agents))])
}

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

changes := given(session, "code_changes", {})

files := given(changes, "files", [])

added := given(changes, "ai_lines_added", given(changes, "lines_added", 0))

violations contains {"message": message} if {
	added > to_number(input.args.max_lines)
	message := sprintf("%s added %d lines, at most %s are allowed: split the work", [label, added, input.args.max_lines])
}

# What nobody is named for counts as the agent's.
violations contains {"message": message, "location": file.path} if {
	some file in files
	is_string(file.path)
	object.get(file, "attribution", "ai") != "human"
	some pattern in as_list(input.args.untouchable)
	glob.match(pattern, ["/"], file.path)
	message := sprintf("%s changed %s (%s), which no agent may change", [label, file.path, given(file, "status", "it does not say how")])
}

violations contains {"message": message} if {
	input.args.demand_spec == "true"
	count(given(session, "spec", [])) == 0
	message := sprintf("%s does not name what it was asked to do", [label])
}

# A session whose changes are not listed cannot be held against what no agent may change.
violations contains {"message": message} if {
	added > 0
	count(files) == 0
	message := sprintf("%s added %d lines and does not say to which files", [label, added])
}

violations contains {"message": message} if {
	some file in files
	not is_string(object.get(file, "path", null))
	message := sprintf("%s changed a file and does not say which", [label])
}
