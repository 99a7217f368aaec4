//! Waivers, and evaluating evidence again.
//!
//! Callers that manage the whole organization create and remove waivers: a caller that stores evidence must not be able
//! to waive its violations. Callers that may read the evidence of the whole organization see the waivers.

use std::time::Duration;

use kinds::evaluation::{VexUnread, read_vex};
use kinds::reevaluation::{self, Selection};
use operations::{Operation, Timestamp, Violation};
use serde::Deserialize;
use store::{Digest, Scope, VEX_PREFIX, Waiver, WaiverOutcome, vex_named};
use utoipa::ToSchema;

use super::{creation, duration, idempotency, may_be_there};
use crate::app::App;
use crate::error::ApiError;
use crate::http::Caller;
use crate::strict::{Found, Read};

/// The longest texts of a waiver, in bytes.
const MAX_POLICY: usize = 128;
const MAX_FINDING: usize = 2_048;
const MAX_SUBJECT: usize = 256;
const MAX_REASON: usize = 1_024;
/// The longest duration of a waiver: ten years.
const LONGEST: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// The maximum of `newest_days`.
const MAX_DAYS: i32 = 3_650;

/// A waiver to create.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateWaiver {
    /// The name of the policy whose violations it covers.
    #[schema(required = true, min_length = 1, max_length = 128, example = "vulnerabilities")]
    #[serde(default)]
    pub(crate) policy: String,
    /// Which violations of the policy it covers: a whole message; an identifier in a finding, such as that of a rule or
    /// a vulnerability; or vex: and the digest of a VEX document that is stored as evidence, for the vulnerabilities
    /// that the document says do not affect the product or are fixed. By default all.
    #[schema(value_type = Option<String>, max_length = 2048, example = "CVE-2026-0001")]
    #[serde(default)]
    pub(crate) finding: String,
    /// Which evidence it covers: a digest or the id of a project; for evaluations in no project, also the name of the
    /// evidence or of its project. By default any evidence. Required with a VEX document.
    #[schema(value_type = Option<String>, max_length = 256)]
    #[serde(default)]
    pub(crate) subject: String,
    /// Why the violation is accepted.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 1024,
        example = "Not reachable: the parser is not linked in"
    )]
    #[serde(default)]
    pub(crate) reason: String,
    /// How long it has an effect, in seconds with the suffix s; by default until it is removed.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "2592000s")]
    pub(crate) expires_in: Option<Duration>,
}

/// Which evidence to evaluate again. At least one of the three fields must be given; evidence must match all that are.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReevaluateEvidence {
    /// Only evidence that this policy was evaluated on.
    #[schema(value_type = Option<String>, max_length = 128)]
    #[serde(default)]
    pub(crate) policy: String,
    /// Only the piece of evidence with this digest.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub(crate) digest: String,
    /// Only evidence that was stored or evaluated within this number of days, accurate to about an hour.
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 3650)]
    #[serde(default)]
    pub(crate) newest_days: Option<i32>,
}

/// Whether the caller may create and remove waivers.
fn may_change(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    caller.require_whole_organization()
}

/// Creates a waiver.
pub(crate) async fn create(app: &App, caller: &Caller, asked: Read<CreateWaiver>) -> Result<Waiver, ApiError> {
    may_change(caller)?;
    let (asked, mut found) = asked.into_parts();
    for (field, text, most, is_needed) in [
        ("policy", &asked.policy, MAX_POLICY, true),
        ("finding", &asked.finding, MAX_FINDING, false),
        ("subject", &asked.subject, MAX_SUBJECT, false),
        ("reason", &asked.reason, MAX_REASON, true),
    ] {
        check(field, text, most, is_needed, &mut found);
    }
    if asked.subject.starts_with("sha256:") && asked.subject.parse::<Digest>().is_err() {
        found.add(Violation::new("subject", store::InvalidDigest.to_string()));
    }
    let time = asked.expires_in.unwrap_or(Duration::from_secs(1));
    if time.is_zero() || time > LONGEST {
        found.add(Violation::new("expires_in", "must be above 0s and at most ten years, 315360000s"));
    }
    check_vex(app, caller, &asked, &mut found).await?;
    found.none()?;
    let now = app.store.now();
    let waiver = Waiver {
        id: Waiver::new_id(now),
        policy: asked.policy,
        finding: asked.finding,
        subject: asked.subject,
        reason: asked.reason,
        created_by: caller.token().name.clone(),
        created_at: now,
        expires_at: asked.expires_in.map(|time| now.after(time)),
    };
    let store = caller.store(app, "waivers.create", Vec::new());
    match store.create_waiver(caller.organization(), waiver).await? {
        WaiverOutcome::Kept(waiver) => Ok(waiver),
        WaiverOutcome::TooMany(most) => {
            let description =
                format!("is one too many: the organization has {most} waivers; remove some that have expired");
            Err(ApiError::field("policy", description))
        }
        WaiverOutcome::TooManyVex(most) => {
            let description =
                format!("is one too many: {most} waivers of the organization name a VEX document; remove some of them");
            Err(ApiError::field("finding", description))
        }
        WaiverOutcome::Missing => Err(ApiError::NotFound("organization")),
    }
}

/// Checks the VEX document that a waiver names, if it names one.
async fn check_vex(app: &App, caller: &Caller, asked: &CreateWaiver, found: &mut Found) -> Result<(), ApiError> {
    let Some(digest) = vex_named(&asked.finding) else { return Ok(()) };
    if asked.subject.is_empty() {
        found.add(Violation::new(
            "subject",
            "must not be empty: say which evidence the VEX document applies to, since its products are not compared",
        ));
    }
    let Ok(digest) = digest.parse::<Digest>() else {
        found.add(Violation::new("finding", format!("what follows {VEX_PREFIX} {}", store::InvalidDigest)));
        return Ok(());
    };
    match read_vex(&*app.store, &app.content, caller.organization(), digest).await {
        Ok(_) => {}
        Err(VexUnread::Store(error)) => return Err(error.into()),
        Err(VexUnread::Content(error)) => return Err(error.into()),
        Err(error) => found.add(Violation::new("finding", error.to_string())),
    }
    Ok(())
}

fn check(field: &str, text: &str, most: usize, is_needed: bool, found: &mut Found) {
    if is_needed && text.trim().is_empty() {
        found.add(Violation::new(field, "must not be empty"));
    } else if text.len() > most {
        found.add(Violation::new(field, format!("must be at most {most} bytes long")));
    } else if text.contains('\0') {
        found.add(Violation::new(field, "must not contain the character U+0000"));
    }
}

/// All waivers, oldest first, including expired ones.
pub(crate) async fn list(app: &App, caller: &Caller) -> Result<(Vec<Waiver>, Timestamp), ApiError> {
    caller.require(Scope::EvidenceRead)?;
    caller.require_whole_organization()?;
    Ok((app.store.waivers(caller.organization()).await?, app.store.now()))
}

/// Removes a waiver.
pub(crate) async fn delete(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    may_change(caller)?;
    let store = caller.store(app, "waivers.delete", Vec::new());
    let is_removed = may_be_there(id) && store.delete_waiver(caller.organization(), id).await?;
    if is_removed { Ok(()) } else { Err(ApiError::NotFound("waiver")) }
}

/// Starts an operation that evaluates evidence again, and returns it.
pub(crate) async fn reevaluate(
    app: &App,
    caller: &Caller,
    asked: Read<ReevaluateEvidence>,
    key: Option<&str>,
) -> Result<Operation, ApiError> {
    caller.require(Scope::OperationsWrite)?;
    caller.require(Scope::EvidenceRead)?;
    caller.require_whole_organization()?;
    let (asked, mut found) = asked.into_parts();
    check("policy", &asked.policy, MAX_POLICY, false, &mut found);
    if !asked.digest.is_empty() && asked.digest.parse::<Digest>().is_err() {
        found.add(Violation::new("digest", store::InvalidDigest.to_string()));
    }
    if asked.newest_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
        found.add(Violation::new("newest_days", format!("must be between 1 and {MAX_DAYS}")));
    }
    if asked.policy.is_empty() && asked.digest.is_empty() && asked.newest_days.is_none() {
        found.add(Violation::new("policy", "is missing: give at least one of policy, digest and newest_days"));
    }
    found.none()?;
    let selection = Selection {
        policy: asked.policy,
        digest: asked.digest,
        days: asked.newest_days.and_then(|days| u32::try_from(days).ok()),
        cause: "it was asked for".to_owned(),
        ..Selection::default()
    };
    let mut new = reevaluation::operation(&selection);
    new.trace = caller.trace();
    let key = idempotency::key(key, caller, "POST /v1/evidence:reevaluate", || creation::fingerprinted(&new))?;
    let store = caller.store(app, "evidence.reevaluate", Vec::new());
    Ok(app.waker.create(&*store, caller.access(), new, None, key).await?)
}
