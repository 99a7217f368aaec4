//! What the claims of an identity provider mean here: organization, scopes, projects.
//!
//! The operator configures the mapping for each provider in [`ClaimMapping`]; nothing is guessed. Claims that a mapping
//! does not mention grant nothing. If the result is ambiguous, the caller is refused.

use std::collections::{BTreeMap, BTreeSet};

use operations::{Access, Projects, check_name};
use serde_json::{Map, Value};
use store::Scope;

/// A project's name that stands for all of them; in a configuration only, never in a claim.
const ALL_PROJECTS: &str = "*";

/// How the claims of a provider are read. Claims are named by their path, with dots between the names of nested
/// objects: `realm_access.roles`. A name that has dots itself is found too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Claims that must have one of these values.
    pub required: BTreeMap<String, Vec<String>>,
    /// The claim that names the organization; empty for none.
    pub organization_claim: String,
    /// Organizations here, by the values of that claim. When there are any, other values are refused; when there are
    /// none, a value is the name of the organization.
    pub organizations: BTreeMap<String, String>,
    /// The organization of callers whose claim is missing and whose roles name none; if it is empty, they are refused.
    pub organization: String,
    /// The claim that lists scopes by their names on this server, as a text with spaces between them or as a list;
    /// empty for none. Names of other scopes grant nothing.
    pub scopes_claim: String,
    /// The scopes that every caller gets.
    pub scopes: BTreeSet<Scope>,
    /// The claim that lists projects, or names one; empty for none.
    pub projects_claim: String,
    /// The projects of callers whose claim is missing. If the mapping says anything about projects, a caller sees only
    /// the projects that it is granted; `*` stands for all.
    pub projects: Vec<String>,
    /// The claim that lists roles or groups, or names one; empty for none.
    pub roles_claim: String,
    /// What each role grants, by its name. Roles that are not listed here grant nothing.
    pub roles: BTreeMap<String, Role>,
}

/// What a role of the provider grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The organization that the role concerns; empty for whichever the caller belongs to.
    pub organization: String,
    /// The scopes that it grants.
    pub scopes: BTreeSet<Scope>,
    /// The projects that it grants; `*` stands for all.
    pub projects: Vec<String>,
}

/// What the claims grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) access: Access,
    pub(crate) scopes: BTreeSet<Scope>,
}

/// Why claims grant nothing; the texts do not contain values of claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// A claim does not have the value that it must have.
    #[error("its claim {0} has none of the values that this server requires")]
    Required(String),
    /// The claim names an organization that is not known here.
    #[error("its claim {0} names no organization of this server")]
    OrganizationUnknown(String),
    /// Nothing names an organization.
    #[error("neither its claims nor its roles name an organization of this server")]
    OrganizationMissing,
    /// Several are named, and a caller has only one.
    #[error("its claims or roles name several organizations, but a caller can have only one")]
    OrganizationAmbiguous,
    /// The claims name an organization by a text that is not a valid name.
    #[error("its claims name an organization whose name is not valid: it {0}")]
    OrganizationInvalid(String),
}

impl ClaimMapping {
    /// What these claims grant.
    ///
    /// # Errors
    /// [`NotGranted`], when they grant nothing at all.
    pub(crate) fn apply(&self, claims: &Map<String, Value>) -> Result<Granted, NotGranted> {
        for (claim, accepted) in &self.required {
            let values = find(claims, claim).map(texts).unwrap_or_default();
            if !values.iter().any(|value| accepted.contains(value)) {
                return Err(NotGranted::Required(claim.clone()));
            }
        }
        let held = values(claims, &self.roles_claim).unwrap_or_default();
        let roles: Vec<&Role> = held.iter().filter_map(|name| self.roles.get(name)).collect();
        let organization = self.organization(claims, &roles)?;
        check_name("organization", &organization)
            .map_err(|violation| NotGranted::OrganizationInvalid(violation.description))?;
        let roles = roles.into_iter().filter(|role| ["", &organization].contains(&role.organization.as_str()));
        let roles: Vec<&Role> = roles.collect();

        let mut scopes = self.scopes.clone();
        for text in values(claims, &self.scopes_claim).unwrap_or_default() {
            scopes.extend(text.split_whitespace().filter_map(|name| name.parse::<Scope>().ok()));
        }
        scopes.extend(roles.iter().flat_map(|role| &role.scopes));
        let projects = self.projects(claims, &roles);
        Ok(Granted { access: Access { organization, projects }, scopes })
    }

    fn organization(&self, claims: &Map<String, Value>, roles: &[&Role]) -> Result<String, NotGranted> {
        let mut named = BTreeSet::new();
        // One that cannot be read is not a missing one, for which the default would apply.
        let is_readable = find(claims, &self.organization_claim).is_none_or(has_texts_only);
        if !self.organization_claim.is_empty() && !is_readable {
            return Err(NotGranted::OrganizationUnknown(self.organization_claim.clone()));
        }
        for value in values(claims, &self.organization_claim).unwrap_or_default() {
            if self.organizations.is_empty() {
                named.insert(value);
            } else if let Some(organization) = self.organizations.get(&value) {
                named.insert(organization.clone());
            } else {
                return Err(NotGranted::OrganizationUnknown(self.organization_claim.clone()));
            }
        }
        if named.is_empty() {
            named.extend(roles.iter().map(|role| role.organization.clone()).filter(|name| !name.is_empty()));
        }
        if named.is_empty() && !self.organization.is_empty() {
            named.insert(self.organization.clone());
        }
        match named.len() {
            0 => Err(NotGranted::OrganizationMissing),
            1 => Ok(named.pop_first().expect("there is one")),
            _ => Err(NotGranted::OrganizationAmbiguous),
        }
    }

    fn projects(&self, claims: &Map<String, Value>, roles: &[&Role]) -> Projects {
        // By the configuration and not by the roles that this caller has: a caller without a role gets less, not more.
        let says_nothing = self.projects_claim.is_empty()
            && self.projects.is_empty()
            && self.roles.values().all(|role| role.projects.is_empty());
        let claimed = values(claims, &self.projects_claim);
        let mut configured: BTreeSet<&str> = roles.iter().flat_map(|role| &role.projects).map(String::as_str).collect();
        if claimed.is_none() {
            configured.extend(self.projects.iter().map(String::as_str));
        }
        if says_nothing || configured.contains(ALL_PROJECTS) {
            return Projects::All;
        }
        let claimed = claimed.unwrap_or_default().into_iter().filter(|name| name != ALL_PROJECTS);
        Projects::Only(
            claimed.chain(configured.into_iter().map(str::to_owned)).filter(|name| !name.is_empty()).collect(),
        )
    }
}

/// The texts of the claim at this path; `None` when the claim is missing, or the path is empty.
fn values(claims: &Map<String, Value>, path: &str) -> Option<Vec<String>> {
    if path.is_empty() { None } else { find(claims, path).map(texts) }
}

/// The value at a path. Namespaced claims have dots in their names (`https://example.com/roles`), so each dot may be
/// part of a name or separate two names.
fn find<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    path.match_indices('.').find_map(|(dot, _)| match claims.get(&path[..dot]) {
        Some(Value::Object(inner)) => find(inner, &path[dot + 1..]),
        _ => None,
    })
}

/// A claim as texts: itself, or its members. Values that are neither text, number nor Boolean are left out.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    match value {
        Value::Array(members) => members.iter().filter_map(text).collect(),
        other => text(other).into_iter().collect(),
    }
}

/// Whether [`texts`] leaves nothing out.
fn has_texts_only(value: &Value) -> bool {
    let is_text = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    value.as_array().map_or_else(|| is_text(value), |members| members.iter().all(is_text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn apply(mapping: &ClaimMapping, claims: Value) -> Result<Granted, NotGranted> {
        mapping.apply(claims.as_object().unwrap())
    }

    fn by_claim() -> ClaimMapping {
        ClaimMapping { organization_claim: "tenant".to_owned(), ..ClaimMapping::default() }
    }

    fn role(organization: &str, scopes: &[Scope], projects: &[&str]) -> Role {
        let projects = projects.iter().map(|name| (*name).to_owned()).collect();
        Role { organization: organization.to_owned(), scopes: scopes.iter().copied().collect(), projects }
    }

    #[test]
    fn a_claim_names_the_organization_itself_or_by_a_table() {
        let granted = apply(&by_claim(), json!({"tenant": "acme"})).unwrap();
        assert_eq!((granted.access, granted.scopes), (Access::organization("acme"), BTreeSet::new()));
        let organizations = BTreeMap::from([("42".to_owned(), "acme".to_owned())]);
        let table = ClaimMapping { organizations, ..by_claim() };
        assert_eq!(apply(&table, json!({"tenant": 42})).unwrap().access.organization, "acme");
        let unknown = Err(NotGranted::OrganizationUnknown("tenant".to_owned()));
        let with_default = ClaimMapping { organization: "acme".to_owned(), ..table };
        for other in [json!("43"), json!(["42", "43"]), json!("acme")] {
            assert_eq!(apply(&with_default, json!({ "tenant": other })), unknown, "a default is not for strangers");
        }
        assert_eq!(apply(&with_default, json!({})).unwrap().access.organization, "acme");
    }

    #[test]
    fn without_one_organization_there_is_nothing() {
        let refused = |claims: Value| apply(&by_claim(), claims).unwrap_err();
        for missing in [json!({}), json!({"tenant": null}), json!({"tenant": []})] {
            assert_eq!(refused(missing), NotGranted::OrganizationMissing);
        }
        let with_default = ClaimMapping { organization: "acme".to_owned(), ..by_claim() };
        for unreadable in [json!({}), json!([{"id": "globex"}]), json!(["globex", null])] {
            let found = apply(&with_default, json!({ "tenant": unreadable })).unwrap_err();
            assert_eq!(found, NotGranted::OrganizationUnknown("tenant".to_owned()), "{unreadable}");
        }
        assert_eq!(refused(json!({"tenant": ["a", "b"]})), NotGranted::OrganizationAmbiguous);
        assert_eq!(apply(&by_claim(), json!({"tenant": ["a", "a"]})).unwrap().access.organization, "a");
        for invalid in ["", " acme", "a\u{0}b", &"a".repeat(129)] {
            let found = refused(json!({ "tenant": invalid }));
            assert!(matches!(found, NotGranted::OrganizationInvalid(_)), "{invalid:?}: {found:?}");
        }
    }

    #[test]
    fn scopes_are_text_or_a_list_and_what_is_none_here_grants_nothing() {
        let scopes = BTreeSet::from([Scope::EvidenceRead]);
        let mapping = ClaimMapping { scopes_claim: "scope".to_owned(), scopes, ..by_claim() };
        for scope in [json!("openid operations:read Admin"), json!(["operations:read", "profile", {"admin": true}])] {
            let granted = apply(&mapping, json!({"tenant": "acme", "scope": scope})).unwrap();
            assert_eq!(granted.scopes, [Scope::OperationsRead, Scope::EvidenceRead].into(), "{scope}");
        }
        let unread = apply(&by_claim(), json!({"tenant": "acme", "scope": "admin"})).unwrap();
        assert_eq!(unread.scopes, BTreeSet::new(), "a claim that nobody named grants nothing");
    }

    #[test]
    fn paths_lead_into_objects_and_names_may_have_dots() {
        let roles = BTreeMap::from([("dev".to_owned(), role("acme", &[Scope::Admin], &[]))]);
        for (path, claims) in [
            ("resource_access.longrun.roles", json!({"resource_access": {"longrun": {"roles": ["dev"]}}})),
            ("https://acme.example/roles", json!({"https://acme.example/roles": "dev"})),
            ("a.b.c.d", json!({"a.b": {"c": {"d": ["x", "dev"]}}})),
        ] {
            let mapping = ClaimMapping { roles_claim: path.to_owned(), roles: roles.clone(), ..Default::default() };
            let granted = apply(&mapping, claims).unwrap();
            assert_eq!((granted.access.organization.as_str(), granted.scopes), ("acme", [Scope::Admin].into()));
            let elsewhere = json!({"a": "dev", "roles": ["dev"], "resource_access": {"roles": ["dev"]}});
            assert_eq!(apply(&mapping, elsewhere), Err(NotGranted::OrganizationMissing), "{path}");
        }
    }

    #[test]
    fn roles_of_another_organization_grant_nothing() {
        let roles = BTreeMap::from([
            ("acme-admin".to_owned(), role("acme", &[Scope::Admin], &[])),
            ("globex-dev".to_owned(), role("globex", &[Scope::OperationsWrite], &[])),
            ("reader".to_owned(), role("", &[Scope::OperationsRead], &[])),
        ]);
        let mapping = ClaimMapping { roles_claim: "groups".to_owned(), roles, ..by_claim() };
        let groups = json!(["acme-admin", "globex-dev", "reader", "unknown"]);
        let granted = apply(&mapping, json!({"tenant": "globex", "groups": groups})).unwrap();
        assert_eq!(granted.scopes, [Scope::OperationsRead, Scope::OperationsWrite].into());
        assert_eq!(apply(&mapping, json!({ "groups": groups })), Err(NotGranted::OrganizationAmbiguous));
    }

    #[test]
    fn who_is_given_no_project_sees_none_once_the_mapping_speaks_of_projects() {
        let only = |names: &[&str]| Projects::Only(names.iter().map(|name| (*name).to_owned()).collect());
        let seen = |mapping: &ClaimMapping, claims: Value| apply(mapping, claims).unwrap().access.projects;
        assert_eq!(seen(&by_claim(), json!({"tenant": "acme"})), Projects::All);
        let claimed = ClaimMapping { projects_claim: "projects".to_owned(), ..by_claim() };
        assert_eq!(seen(&claimed, json!({"tenant": "acme"})), only(&[]));
        assert_eq!(seen(&claimed, json!({"tenant": "acme", "projects": ["a", "", "b"]})), only(&["a", "b"]));
        assert_eq!(seen(&claimed, json!({"tenant": "acme", "projects": "*"})), only(&[]), "* is no claim");
        let with_default = ClaimMapping { projects: vec!["*".to_owned()], ..claimed };
        assert_eq!(seen(&with_default, json!({"tenant": "acme"})), Projects::All);
        assert_eq!(seen(&with_default, json!({"tenant": "acme", "projects": []})), only(&[]));

        let roles = BTreeMap::from([
            ("lead".to_owned(), role("", &[], &["*"])),
            ("a".to_owned(), role("", &[], &["a"])),
            ("dev".to_owned(), role("", &[Scope::Admin], &[])),
        ]);
        let by_role = ClaimMapping { roles_claim: "groups".to_owned(), roles, ..by_claim() };
        assert_eq!(seen(&by_role, json!({"tenant": "acme", "groups": ["dev"]})), only(&[]));
        assert_eq!(seen(&by_role, json!({"tenant": "acme", "groups": ["dev", "a"]})), only(&["a"]));
        assert_eq!(seen(&by_role, json!({"tenant": "acme", "groups": ["a", "lead"]})), Projects::All);
    }

    #[test]
    fn required_claims_are_required() {
        let required = BTreeMap::from([("hd".to_owned(), vec!["acme.example".to_owned()])]);
        let mapping = ClaimMapping { required, ..by_claim() };
        assert!(apply(&mapping, json!({"tenant": "acme", "hd": "acme.example"})).is_ok());
        for other in [json!({"tenant": "acme"}), json!({"tenant": "acme", "hd": "evil.example"})] {
            assert_eq!(apply(&mapping, other), Err(NotGranted::Required("hd".to_owned())));
        }
    }
}
