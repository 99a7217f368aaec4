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

violations contains message if {
	some scope in as_list(input.args.scopes)
	not scope in {"runtime", "development"}
	message := sprintf("the input scopes has the entry %q: it must be runtime or development", [scope])
}

# What is not given, or null, is taken for the worst: what runs, and is critical.
scope_of(alert) := "development" if {
	alert.dependency.scope == "development"
} else := "runtime"

severity_of(alert) := severity if {
	severity := alert.security_advisory.severity
	severity in {"critical", "high", "medium", "low"}
} else := severity if {
	severity := alert.security_vulnerability.severity
	severity in {"critical", "high", "medium", "low"}
} else := "critical"

days(since) := floor((time.now_ns() - time.parse_rfc3339_ns(since)) / (((24 * 60) * 60) * 1000000000))

# How long it has been open, where that is longer than allowed.
overdue(alert, most) := text if {
	is_string(alert.created_at)
	age := days(alert.created_at)
	age > most
	text := sprintf("for %d days, at most %d are allowed", [age, most])
} else := text if {
	not is_string(object.get(alert, "created_at", null))
	text := sprintf("since nobody knows when, at most %d days are allowed", [most])
}

identifier(alert) := id if {
	id := alert.security_advisory.cve_id
	is_string(id)
} else := id if {
	id := alert.security_advisory.ghsa_id
	is_string(id)
} else := sprintf("alert %d", [alert.number])

fix(alert) := sprintf("update it to %s", [version]) if {
	version := alert.security_vulnerability.first_patched_version.identifier
	is_string(version)
} else := "no fixed version is known: replace it, or dismiss the alert with a reason"

purl(of) := sprintf("pkg:%s/%s", [lower(ecosystem), of.name]) if {
	ecosystem := of.ecosystem
	is_string(ecosystem)
} else := sprintf("pkg:generic/%s", [of.name])

violations contains {
	"message": message,
	"external_id": identifier(alert),
	"package_purl": purl(alert.dependency.package),
	"severity": upper(severity),
	"recommendation": fix(alert),
} if {
	some alert in input.elements
	alert.state == "open"
	scope_of(alert) in as_list(input.args.scopes)
	severity := severity_of(alert)
	since := overdue(alert, allowed[severity])
	message := sprintf("%s in %s (%s) has been open %s: %s", [
		identifier(alert),
		alert.dependency.package.name,
		severity,
		since,
		fix(alert),
	])
}
