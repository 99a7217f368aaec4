package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

valid_input if count(given(input.data, "repos", [])) > 0

default skip_reason := ""

skip_reason := "the context names no repository" if not valid_input

# What is null is as good as absent.
given(of, member, otherwise) := value if {
	value := object.get(of, member, null)
	value != null
} else := otherwise

full_name(repo) := sprintf("%s/%s", [given(repo, "owner", "?"), given(repo, "repository", "?")])

branch_named(repo, name) := branch if {
	some branch in repo.branches
	branch.name == name
}

active(branch) := {rule.name |
	some rule in branch.active_rules
	sprintf("%v", [rule.enabled]) == "true"
}

violations contains message if {
	some repo in input.data.repos
	some name in as_list(input.args.branches)
	not branch_named(repo, name)
	message := sprintf("%s: nothing is known of the branch %s", [full_name(repo), name])
}

violations contains message if {
	some repo in input.data.repos
	some name in as_list(input.args.branches)
	branch := branch_named(repo, name)
	missing := {rule | some rule in as_list(input.args.rules)} - active(branch)
	count(missing) > 0
	message := sprintf("%s: the branch %s has no rule %s", [full_name(repo), name, concat(", ", sort(missing))])
}

reviews(rule) := number if {
	some setting in rule.context
	setting.name == "required_approving_review_count"
	number := to_number(setting.value)
} else := 0

violations contains message if {
	some repo in input.data.repos
	some name in as_list(input.args.branches)
	some rule in branch_named(repo, name).active_rules
	rule.name == "pull_request"
	reviews(rule) < to_number(input.args.min_reviews)
	message := sprintf("%s: the branch %s asks for %d approvals, %s are needed", [full_name(repo), name, reviews(rule), input.args.min_reviews])
}

protected := {"branch": "branches", "tag": "tags"}

violations contains message if {
	input.args.allow_bypass != "true"
	some repo in input.data.repos
	some kind, member in protected
	some part in repo[member]
	some rule in part.active_rules
	some actor in rule.bypass_configuration
	message := sprintf("%s: %s may bypass the rule %s of the %s %s", [
		full_name(repo),
		given(actor, "actor_name", "somebody"),
		given(rule, "name", "without a name"),
		kind,
		given(part, "name", "without a name"),
	])
}
