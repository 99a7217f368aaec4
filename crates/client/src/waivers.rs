//! Waivers, and evaluating evidence again.

use serde::{Deserialize, Serialize};

use crate::calls::{IDEMPOTENCY_KEY, new_key, segment};
use crate::client::{Answer, Client};
use crate::error::Error;
use crate::types::{Deleted, StartedEvaluation};

/// A waiver to be added. Empty fields are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewWaiver {
    /// The name of the policy whose violations it covers.
    pub policy: String,
    /// The violations that it covers: a whole message, an identifier in a finding, or `vex:` and the digest of a VEX
    /// document; empty: all of the policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub finding: String,
    /// The evidence that it covers: its digest or the id of its project, and outside of projects its name or the name
    /// of its project; empty: all.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The reason for accepting the violations.
    pub reason: String,
    /// How long it has an effect, such as `2592000s`; `None`: until it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// A decision to accept violations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Waiver {
    /// Its id.
    pub id: String,
    /// The name of the policy whose violations it covers.
    pub policy: String,
    /// The violations that it covers; empty: all of the policy.
    pub finding: String,
    /// The evidence that it covers; empty: all.
    pub subject: String,
    /// The reason.
    pub reason: String,
    /// The name of the token that created it.
    pub created_by: String,
    /// When it was created; RFC 3339.
    pub created_at: String,
    /// When it expires; RFC 3339.
    pub expires_at: Option<String>,
    /// Whether it currently has an effect.
    pub active: bool,
}

/// The answer with one waiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WaiverAnswer {
    /// The waiver.
    pub waiver: Waiver,
}

/// The answer with all waivers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WaiverList {
    /// Oldest first.
    pub waivers: Vec<Waiver>,
}

/// Which evidence is evaluated again. At least one field must be given; evidence must match all that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReevaluateRequest {
    /// Evidence that was evaluated against this policy.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
    /// This piece of evidence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Evidence that was stored or evaluated within this many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_days: Option<u32>,
}

impl Client {
    /// `GET /v1/waivers`: all waivers of the organization, including expired ones.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 7 when the token is limited to projects.
    pub async fn waivers(&self) -> Result<Answer<WaiverList>, Error> {
        let address = self.address("v1/waivers");
        self.call(|| self.http().get(address.clone())).await
    }

    /// `POST /v1/waivers`. Sent only once: a repetition could create two.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn create_waiver(&self, waiver: &NewWaiver) -> Result<Answer<WaiverAnswer>, Error> {
        self.call_once(self.http().post(self.address("v1/waivers")).json(waiver)).await
    }

    /// `DELETE /v1/waivers/{id}`.
    ///
    /// # Errors
    /// Any [`Error`]; a refusal with code 5 when there is no such waiver.
    pub async fn delete_waiver(&self, id: &str) -> Result<Answer<Deleted>, Error> {
        let address = self.address(&format!("v1/waivers/{}", segment(id)));
        self.call(|| self.http().delete(address.clone())).await
    }

    /// `POST /v1/evidence:reevaluate`: starts an operation that repeats the newest evaluations of the selected
    /// evidence.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn reevaluate_evidence(&self, request: &ReevaluateRequest) -> Result<Answer<StartedEvaluation>, Error> {
        let (address, key) = (self.address("v1/evidence:reevaluate"), new_key());
        self.call(|| self.http().post(address.clone()).header(IDEMPOTENCY_KEY, &key).json(request)).await
    }
}
