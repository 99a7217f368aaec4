package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

change := input.data

label := sprintf("%s #%s", [change.platform, change.number])

# Before version 1.2 of the schema the author is a name, and there are no reviewers.
author := name if {
	name := change.author.login
} else := name if {
	name := change.author
	is_string(name)
} else := ""

is_bot if {
	change.author.type == "Bot"
	input.args.bots_need_review == "false"
}

reviews := [review | some review in change.reviewers]

counts(login) if login in as_list(object.get(input.args, "reviewers", [login]))

# Where nobody is named as the author, an approval could be the author's own.
approvals contains review.login if {
	author != ""
	some review in reviews
	review.review_status == "APPROVED"
	review.type != "Bot"
	review.login != author
	counts(review.login)
}

violations contains message if {
	not is_bot
	count(approvals) < to_number(input.args.min_approvals)
	message := sprintf("%s has %d approvals of people other than its author, %s are needed", [label, count(approvals), input.args.min_approvals])
}

violations contains message if {
	some review in reviews
	review.review_status == "CHANGES_REQUESTED"
	message := sprintf("%s: %s asks for changes", [label, review.login])
}

violations contains message if {
	branch := object.get(change, "target_branch", "a branch that is not named")
	not branch in as_list(object.get(input.args, "target_branches", [branch]))
	message := sprintf("%s goes to %s, which is none of %s", [label, branch, concat(", ", as_list(input.args.target_branches))])
}
