package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

ignored := {fingerprint | some fingerprint in as_list(object.get(input.args, "ignored", []))}

# The source is the only member of Data: Filesystem, Git, Github and others.
place(finding) := {"path": path, "line": object.get(source, "line", 1)} if {
	some source in finding.SourceMetadata.Data
	path := source.file
	is_string(path)
} else := {"path": "a place that the report does not name", "line": 1}

counts(finding) if input.args.only_verified != "true"

counts(finding) if object.get(finding, "Verified", true) != false

violations contains {"message": message, "rule_id": finding.DetectorName, "severity": severity(finding), "location": at.path, "line_number": at.line} if {
	some finding in input.elements
	counts(finding)
	at := place(finding)
	not sprintf("%s:%s:%d", [finding.DetectorName, at.path, at.line]) in ignored
	message := sprintf("%s:%d holds %s: revoke it, then remove it", [at.path, at.line, what(finding)])
}

what(finding) := sprintf("a valid secret of %s", [finding.DetectorName]) if {
	finding.Verified == true
} else := sprintf("what looks like a secret of %s", [finding.DetectorName])

severity(finding) := "CRITICAL" if {
	finding.Verified == true
} else := "HIGH"
