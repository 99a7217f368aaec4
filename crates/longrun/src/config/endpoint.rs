//! An external server that receives signed calls: for kinds of the type `http`, and for notices.

use kinds::webhook::{EndpointSettings, Secrets};
use serde::{Deserialize, Serialize};

use super::tables::Complaints;

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
    pub fn check(&self, complaints: &mut Complaints) {
        if let Err(invalid) = self.settings().check() {
            complaints.add(invalid.key, invalid.message);
        }
        match (self.secret_environment.as_str(), self.secret_file.as_str()) {
            ("", "") => {
                let message = "is missing; it names the variable with the secret that signs calls \
                     (or secret_file its file)";
                complaints.add("secret_environment", message);
            }
            ("", file) => match std::fs::read_to_string(file) {
                Ok(text) => {
                    if let Err(error) = Secrets::parse(&text) {
                        complaints.add("secret_file", format!("the file contains no secret: {error}"));
                    }
                }
                Err(error) => complaints.add("secret_file", format!("the file {file} cannot be read: {error}")),
            },
            (name, "") => {
                let is_name = !name.contains(['=', '\0']);
                complaints.require(is_name, "secret_environment", "must be the name of a variable");
                let looks_secret = name.starts_with("whsec_");
                complaints.require(
                    !looks_secret,
                    "secret_environment",
                    "is the name of a variable, not the secret itself",
                );
            }
            _ => {
                let message = "must be left out when secret_environment is set: only one secret is needed";
                complaints.add("secret_file", message);
            }
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
