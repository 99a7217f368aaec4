//! The meaning of a provider's claims: the part that `[auth.jwt.NAME]` and `[auth.oidc]` have in common.

use std::collections::BTreeMap;

use operations::check_name;
use serde::{Deserialize, Serialize};
use server::auth::ClaimMapping;
use store::Scope;

use super::tables::Complaints;

/// How claims are read; empty means "not set". See [`ClaimMapping`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Claims {
    /// Required claims, each with its accepted values.
    pub required: BTreeMap<String, Vec<String>>,
    /// The claim that names the organization.
    pub organization_claim: String,
    /// The organization for each value of that claim.
    pub organizations: BTreeMap<String, String>,
    /// The organization of callers for whom neither a claim nor a role names one.
    pub organization: String,
    /// The claim that lists scopes by longrun's names.
    pub scopes_claim: String,
    /// The scopes of every caller.
    pub scopes: Vec<String>,
    /// The claim that lists projects.
    pub projects_claim: String,
    /// The projects of callers whose claim is missing; `*` means all.
    pub projects: Vec<String>,
    /// The claim that lists roles or groups.
    pub roles_claim: String,
    /// The rights of each role: the tables below `roles`.
    pub roles: BTreeMap<String, Role>,
}

/// The rights of a role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// The organization for which it grants rights; empty: the caller's own.
    pub organization: String,
    /// The scopes that it grants.
    pub scopes: Vec<String>,
    /// The projects that it can see; `*` means all.
    pub projects: Vec<String>,
}

impl Claims {
    /// Whether only some of those with an account at the provider are accepted.
    pub fn is_choosy(&self) -> bool {
        // A claim without a table names the organization itself, whoever has it.
        let names_theirs = if self.organization_claim.is_empty() {
            self.roles.values().any(|role| !role.organization.is_empty())
        } else {
            !self.organizations.is_empty()
        };
        !self.required.is_empty() || (names_theirs && self.organization.is_empty())
    }

    /// The mapping in the format of `server`.
    pub fn mapping(&self) -> ClaimMapping {
        let scopes = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        let role = |role: &Role| server::auth::Role {
            organization: role.organization.clone(),
            scopes: scopes(&role.scopes),
            projects: role.projects.clone(),
        };
        ClaimMapping {
            required: self.required.clone(),
            organization_claim: self.organization_claim.clone(),
            organizations: self.organizations.clone(),
            organization: self.organization.clone(),
            scopes_claim: self.scopes_claim.clone(),
            scopes: scopes(&self.scopes),
            projects_claim: self.projects_claim.clone(),
            projects: self.projects.clone(),
            roles_claim: self.roles_claim.clone(),
            roles: self.roles.iter().map(|(name, told)| (name.clone(), role(told))).collect(),
        }
    }

    /// Checks that the types cannot express.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        let roles = self.roles.values();
        let names_one = !self.organization_claim.is_empty()
            || !self.organization.is_empty()
            || roles.clone().any(|role| !role.organization.is_empty());
        let message =
            "is missing: name the claim that contains the organization, or set organization, or set it for a role";
        complaints.require(names_one, "organization_claim", message);
        let grants = !self.scopes_claim.is_empty()
            || !self.scopes.is_empty()
            || roles.clone().any(|role| !role.scopes.is_empty());
        complaints.require(
            grants,
            "scopes",
            "is missing: set it, or scopes_claim, or scopes of a role; otherwise nobody is allowed anything",
        );
        for (key, table, claim_key, claim) in [
            ("organizations", self.organizations.is_empty(), "organization_claim", &self.organization_claim),
            ("roles", self.roles.is_empty(), "roles_claim", &self.roles_claim),
        ] {
            complaints.require(table || !claim.is_empty(), key, format!("needs {claim_key}, whose values it maps"));
        }
        complaints.require(
            self.roles_claim.is_empty() || !self.roles.is_empty(),
            "roles_claim",
            "needs roles, e.g. roles = { admins = { scopes = [\"admin\"] } }: a role that is not listed grants \
             nothing",
        );
        for (claim, accepted) in &self.required {
            let message = format!("{claim} needs at least one value; without one nobody is accepted");
            complaints.require(!accepted.is_empty(), "required", message);
        }
        let organizations = self.organizations.values().chain([&self.organization]);
        let organizations = organizations.chain(roles.clone().map(|role| &role.organization));
        for name in organizations.filter(|name| !name.is_empty()) {
            if let Err(violation) = check_name("organization", name) {
                complaints.invalid_name("organization", name, "an organization", &violation);
            }
        }
        for name in self.organizations.iter().filter(|(_, name)| name.is_empty()).map(|(value, _)| value) {
            complaints.add("organizations", format!("{name:?} needs the name of an organization"));
        }
        for problem in self.scopes.iter().filter_map(|scope| scope.parse::<Scope>().err()) {
            complaints.add("scopes", problem.to_string());
        }
        for (name, role) in &self.roles {
            for problem in role.scopes.iter().filter_map(|scope| scope.parse::<Scope>().err()) {
                complaints.add(&format!("roles.{name}.scopes"), problem.to_string());
            }
        }
        complaints
    }
}
