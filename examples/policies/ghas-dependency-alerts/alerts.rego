package main

import rego.v1

as_list(value) := [value] if is_string(value)

as_list(value) := value if is_array(value)

entries := as_list(input.args.max_age_days)

allowed := {severity: to_number(most) |
	some entry in entries
	[severity, most] := split(entry, "=")
}

violations contains message if {
	some entry in entries
	not regex.match(`^(critical|high|medium|low)=[0-9]+$`, entry)
	message := sprintf("the input max_age_days has the entry %q, which is not of the form severity=days", [entry])
}

days(since) := floor((time.now_ns() - time.parse_rfc3339_ns(since)) / (((24 * 60) * 60) * 1000000000))

identifier(alert) := alert.security_advisory.cve_id if {
	is_string(alert.security_advisory.cve_id)
} else := alert.security_advisory.ghsa_id

fix(alert) := sprintf("update it to %s", [version]) if {
	version := alert.security_vulnerability.first_patched_version.identifier
} else := "no fixed version is known: replace it, or dismiss the alert with a reason"

purl(of) := sprintf("pkg:%s/%s", [lower(of.ecosystem), of.name])

# Without a scope it counts as what runs.
violations contains {
	"message": message,
	"external_id": identifier(alert),
	"package_purl": purl(alert.dependency.package),
	"severity": upper(severity),
	"recommendation": fix(alert),
} if {
	some alert in input.elements
	alert.state == "open"
	object.get(alert.dependency, "scope", "runtime") in as_list(input.args.scopes)
	severity := alert.security_advisory.severity
	age := days(alert.created_at)
	age > allowed[severity]
	message := sprintf("%s in %s (%s) has been open for %d days, at most %d are allowed: %s", [
		identifier(alert),
		alert.dependency.package.name,
		severity,
		age,
		allowed[severity],
		fix(alert),
	])
}
