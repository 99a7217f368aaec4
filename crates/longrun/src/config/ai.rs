//! The provider of models that answers `prompt` checks: `[ai]`.

use kinds::evaluation::{DEFAULT_EVIDENCE_LIMIT, DEFAULT_TIMEOUT, ResponseFormat};
use kinds::webhook::EndpointSettings;
use serde::{Deserialize, Serialize};

use super::tables::Complaints;
use super::units::{ByteSize, Span};

/// A provider of models with a chat completions endpoint, as offered by OpenAI and most model servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ai {
    /// The endpoint for chat completions, `https` or `http`; empty: no `prompt` checks are possible.
    pub url: String,
    /// The model's name.
    pub model: String,
    /// The environment variable of the server that contains the key; set this, `key_file`, or neither.
    pub key_environment: String,
    /// The file that contains the key.
    pub key_file: String,
    /// How the model is made to answer in the format of a verdict.
    pub response_format: ResponseFormat,
    /// Maximum number of bytes of evidence that are sent.
    pub max_evidence: ByteSize,
    /// How long one answer may take.
    pub timeout: Span,
    /// Whether the URL may lead to an address outside the public internet.
    pub allow_private_addresses: bool,
}

impl Default for Ai {
    fn default() -> Ai {
        Ai {
            url: String::new(),
            model: String::new(),
            key_environment: String::new(),
            key_file: String::new(),
            response_format: ResponseFormat::default(),
            max_evidence: ByteSize(DEFAULT_EVIDENCE_LIMIT as u64),
            timeout: Span(DEFAULT_TIMEOUT),
            allow_private_addresses: false,
        }
    }
}

impl Ai {
    /// Whether there is a provider.
    pub fn is_configured(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks that the types cannot express.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        if !self.is_configured() {
            complaints.require(
                self.model.is_empty(),
                "url",
                "is missing: without it the other settings of [ai] have no effect",
            );
            return complaints;
        }
        if let Err(invalid) = self.endpoint().check() {
            complaints.add(invalid.key, invalid.message);
        }
        complaints.require(
            !self.model.is_empty(),
            "model",
            "is missing; it is the name of the model as the provider knows it",
        );
        complaints.require(self.max_evidence.0 > 0, "max_evidence", "must be above 0");
        complaints.require(!self.timeout.0.is_zero(), "timeout", "must be above 0");
        let one = self.key_environment.is_empty() || self.key_file.is_empty();
        complaints.require(one, "key_file", "must be left out when key_environment is set: only one key is needed");
        complaints.require(
            !self.key_environment.contains(['=', '\0']),
            "key_environment",
            "must be the name of a variable, not the key itself",
        );
        if !self.key_file.is_empty() {
            let readable = std::fs::File::open(&self.key_file);
            let message = format!("the file {} cannot be read", self.key_file);
            complaints.require(readable.is_ok(), "key_file", message);
        }
        complaints
    }

    /// The settings of the provider's endpoint.
    pub fn endpoint(&self) -> EndpointSettings {
        EndpointSettings {
            url: self.url.clone(),
            allowed_hosts: Vec::new(),
            allow_private_addresses: self.allow_private_addresses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_work_is_refused() {
        let keys = |ai: &Ai| ai.check().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert!(keys(&Ai::default()).is_empty());
        assert_eq!(keys(&Ai { model: "m".to_owned(), ..Ai::default() }), ["url"]);
        let ai = Ai { url: "https://models.example.com/v1/chat/completions".to_owned(), ..Ai::default() };
        assert_eq!(keys(&ai), ["model"]);
        let ai = Ai { model: "m".to_owned(), ..ai };
        assert!(keys(&ai).is_empty());
        assert_eq!(keys(&Ai { url: "http://127.0.0.1:11434/v1/chat/completions".to_owned(), ..ai.clone() }), ["url"]);
        assert_eq!(keys(&Ai { key_file: "/nowhere/key".to_owned(), ..ai.clone() }), ["key_file"]);
        assert_eq!(keys(&Ai { key_environment: "A=b".to_owned(), ..ai }), ["key_environment"]);
    }
}
