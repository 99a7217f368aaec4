//! Waivers, and evaluating evidence again.
//!
//! Callers that manage the organization as a whole make and remove waivers: a caller that stores evidence must not be
//! able to wave it through. Callers that may read evidence of the whole organization see them.

use std::time::Duration;

use kinds::evaluation::{VexUnread, read_vex};
use kinds::reevaluation::{self, Selection};
use operations::{Operation, Timestamp, Violation, check_text};
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
/// The longest time of a waiver: ten years.
const LONGEST: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// The oldest evidence that is evaluated again by its age, in days.
const MAX_DAYS: i32 = 3_650;

/// What is lived with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateWaiver {
    /// The name of the policy whose violations it covers.
    #[schema(required = true, min_length = 1, max_length = 128, example = "vulnerabilities")]
    #[serde(default)]
    pub(crate) policy: String,
    /// Which of them: a whole message, or an identifier in a finding, such as that of a rule or a vulnerability, or vex: and
    /// the digest of a VEX document that is stored as evidence, for the vulnerabilities that it says do not affect the
    /// product or are fixed; left out, all.
    #[schema(required = false, max_length = 2048, example = "CVE-2026-0001")]
    #[serde(default)]
    pub(crate) finding: String,
    /// Of which evidence: its digest, or the id of its project; of an evaluation in no project, also the name of the
    /// evidence or of its project; left out, any. Required with a VEX document.
    #[schema(required = false, max_length = 256)]
    #[serde(default)]
    pub(crate) subject: String,
    /// Why.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 1024,
        example = "Not reachable: the parser is not linked in"
    )]
    #[serde(default)]
    pub(crate) reason: String,
    /// How long it has an effect, in seconds with an s; left out, until it is removed.
    #[serde(default, deserialize_with = "duration::given")]
    #[schema(value_type = Option<String>, pattern = r"^[0-9]+(\.[0-9]{1,9})?s$", example = "2592000s")]
    pub(crate) expires_in: Option<Duration>,
}

/// Which evidence is evaluated again; at least one of the three is given, and all that are given must fit.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReevaluateEvidence {
    /// What this policy was evaluated on.
    #[schema(required = false, max_length = 128)]
    #[serde(default)]
    pub(crate) policy: String,
    /// This piece of evidence.
    #[schema(required = false)]
    #[serde(default)]
    pub(crate) digest: String,
    /// What was stored or evaluated within so many days, give or take an hour.
    #[schema(value_type = Option<i32>, minimum = 1, maximum = 3650)]
    #[serde(default)]
    pub(crate) newest_days: Option<i32>,
}

/// Whether the caller may make and remove waivers.
fn may_change(caller: &Caller) -> Result<(), ApiError> {
    caller.require(Scope::Admin)?;
    caller.require_whole_organization()
}

/// Makes a waiver.
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
            let told = format!("is one too many: the organization has {most} waivers; remove some that have expired");
            Err(ApiError::field("policy", told))
        }
        WaiverOutcome::TooManyVex(most) => {
            let told = format!("{most} waivers of the organization name a VEX document already: remove some of them");
            Err(ApiError::field("finding", told))
        }
        WaiverOutcome::Missing => Err(ApiError::NotFound("organization")),
    }
}

/// Checks that the VEX document is one, if a waiver names any.
async fn check_vex(app: &App, caller: &Caller, asked: &CreateWaiver, found: &mut Found) -> Result<(), ApiError> {
    let Some(digest) = vex_named(&asked.finding) else { return Ok(()) };
    if asked.subject.is_empty() {
        found.add(Violation::new(
            "subject",
            "must not be empty: say which evidence the VEX document is of, since its products are not compared",
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
        found.add(Violation::new(field, "must not have the character U+0000"));
    }
}

/// Every waiver, oldest first, those that have expired included.
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

/// Has evidence evaluated again: answers the operation that sees to it.
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
    check_text("policy", &asked.policy).err().into_iter().for_each(|violation| found.add(violation));
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
