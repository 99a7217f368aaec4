//! An external server that receives signed calls: for kinds of the type `http`, and for notices.

use kinds::webhook::{EndpointSettings, Secrets};
use serde::{Deserialize, Serialize};

/// Where calls are sent, and the secret that signs them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    /// `https` or `http`.
    pub url: String,
    /// The environment variable of the server that contains the secret; set this or `secret_file`.
    pub secret_environment: String,
    /// The file that contains the secret.
    pub secret_file: String,
    /// Hosts that may be called; empty: that of the URL.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses outside the public internet may be called.
    pub allow_private_addresses: bool,
}

impl Endpoint {
    /// Checks that the types cannot express.
    pub fn check(&self, check: &mut impl FnMut(bool, &str, &str)) {
        if let Err(invalid) = self.settings().check() {
            check(false, invalid.key, &invalid.message);
        }
        match (self.secret_environment.as_str(), self.secret_file.as_str()) {
            ("", "") => {
                let message = "is missing; it names the variable with the secret that signs calls \
                     (or secret_file its file)";
                check(false, "secret_environment", message);
            }
            ("", file) => match std::fs::read_to_string(file) {
                Ok(text) => {
                    let problem =
                        Secrets::parse(&text).err().map(|error| format!("the file contains no secret: {error}"));
                    check(problem.is_none(), "secret_file", &problem.unwrap_or_default());
                }
                Err(error) => check(false, "secret_file", &format!("the file {file} cannot be read: {error}")),
            },
            (name, "") => {
                check(!name.contains(['=', '\0']), "secret_environment", "must be the name of a variable");
                let looks_secret = name.starts_with("whsec_");
                check(!looks_secret, "secret_environment", "is the name of a variable, not the secret itself");
            }
            _ => check(
                false,
                "secret_file",
                "must be left out when secret_environment is set: only one secret is needed",
            ),
        }
    }

    /// The settings in the format of `kinds`.
    pub fn settings(&self) -> EndpointSettings {
        EndpointSettings {
            url: self.url.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            allow_private_addresses: self.allow_private_addresses,
        }
    }
}
