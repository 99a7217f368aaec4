//! The audit log: who called what, on which targets, from where, when, and what was answered.
//!
//! Each organization has a log of its own, and the instance has one under the empty name. A call that changes the store
//! is written by the transaction that makes the change: [`Store::on_behalf_of`](crate::Store::on_behalf_of) gives a
//! store whose writes are recorded in this way. A refused call is written separately, with
//! [`Store::record`](crate::Store::record); one about an organization that does not exist goes into the log of the
//! instance.
//!
//! One row per transaction and organization holds the entries of all its calls, so that a batch of five hundred
//! creations costs one row. Entries are numbered 1, 2, 3 … in commit order without gaps; retention removes the oldest
//! and counts them. `longrun doctor` compares.

use std::borrow::Cow;
use std::sync::Arc;

use operations::Timestamp;
use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The most rows that one page reads: each is a transaction.
pub(crate) const PAGE_ROWS: i64 = 200;
/// The most bytes of rows that one page reads (one more piece of rows may exceed it).
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The kind of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// With a token of an organization.
    Token,
    /// With a token of the instance.
    InstanceToken,
    /// With an identity from an identity provider: a JWT, a session of the page.
    Identity,
    /// On the command line, with the store itself.
    CommandLine,
}

impl ActorKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ActorKind::Token => "token",
            ActorKind::InstanceToken => "instance_token",
            ActorKind::Identity => "identity",
            ActorKind::CommandLine => "command_line",
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The kind of caller.
    pub kind: ActorKind,
    /// The token's id; on the command line the user of the operating system.
    pub id: String,
    /// The token's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A call that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditCall {
    /// The organization whose log it goes into; empty: the log of the instance.
    pub organization: String,
    /// Who calls.
    pub actor: Actor,
    /// The action, e.g. `operations.create`.
    pub action: Cow<'static, str>,
    /// The targets that the call names, e.g. `kinds/scan`. What it creates or changes is added.
    pub targets: Vec<String>,
    /// The address that the call came from; empty on the command line.
    pub address: String,
    /// Its request id; empty on the command line.
    pub request_id: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number in its log, from 1.
    pub number: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The organization whose log it is in; empty: the log of the instance.
    pub organization: String,
    /// Who called.
    pub actor: Actor,
    /// The action.
    pub action: String,
    /// The targets: `operations/ID`, `tokens/ID`, `organizations/NAME`, `kinds/NAME`, `evidence/DIGEST`.
    pub targets: Vec<String>,
    /// The address that the call came from; may be empty.
    pub address: String,
    /// The request's id; may be empty.
    pub request_id: String,
    /// The answer, a `google.rpc.Code`: 0 when the call succeeded.
    pub code: i32,
}

/// Which entries are wanted; a field that is left out matches any entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By caller: the id of a token.
    pub actor: Option<String>,
    /// By action: one action, or all that begin with a text that ends with a dot (`tokens.`).
    pub action: Option<String>,
    /// By target, as the entry has it.
    pub target: Option<String>,
    /// Written at this time or later.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Option<Timestamp>,
}

/// Entries, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// May be fewer than requested, even when there are more: a page reads only a bounded number of rows.
    pub entries: Vec<AuditEntry>,
    /// The number below which the next page continues; `None`: there is no next page.
    pub next: Option<u64>,
}

/// An entry as a row keeps it.
#[derive(Serialize, Deserialize)]
struct Kept<'k> {
    #[serde(flatten)]
    actor: Cow<'k, Actor>,
    action: Cow<'k, str>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    targets: Cow<'k, [String]>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    address: Cow<'k, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    request_id: Cow<'k, str>,
    #[serde(default, skip_serializing_if = "is_zero")]
    code: i32,
}

fn is_zero(code: &i32) -> bool {
    *code == 0
}

/// A call with its result.
pub(crate) struct Record {
    pub(crate) call: Arc<AuditCall>,
    /// What it created or changed, in addition to what the call names.
    pub(crate) made: Vec<String>,
    pub(crate) code: i32,
}

/// The rows of records: organization, number of entries, entries.
pub(crate) fn rows(records: &[Record]) -> Vec<(&str, i32, String)> {
    let mut rows: Vec<(&str, Vec<Kept<'_>>)> = Vec::new();
    for record in records {
        let (of, kept) = (record.call.organization.as_str(), kept(record, &record.made));
        match rows.iter_mut().find(|(organization, _)| *organization == of) {
            Some((_, entries)) => entries.push(kept),
            None => rows.push((of, vec![kept])),
        }
    }
    // In one order, since rows of several organizations are locked.
    rows.sort_by_key(|(organization, _)| *organization);
    let row = |(organization, entries): (_, Vec<Kept<'_>>)| {
        (organization, i32::try_from(entries.len()).unwrap_or(i32::MAX), written(&entries))
    };
    rows.into_iter().map(row).collect()
}

/// The entries of an organization that does not exist, and so has no log, as the log of the instance has them: the
/// organization is one of their targets.
pub(crate) fn entries_for_instance(records: &[Record], organization: &str) -> String {
    let of = records.iter().filter(|record| record.call.organization == organization);
    let entry = |record| {
        let target = format!("organizations/{organization}");
        kept(record, &[&record.made[..], &[target]].concat())
    };
    written(&of.map(entry).collect::<Vec<_>>())
}

/// The entry of a record, with further targets.
fn kept<'r>(record: &'r Record, further: &[String]) -> Kept<'r> {
    let Record { call, code, .. } = record;
    let further: Vec<&String> = further.iter().filter(|target| !call.targets.contains(target)).collect();
    let targets = if further.is_empty() {
        Cow::Borrowed(&*call.targets)
    } else {
        call.targets.iter().chain(further).cloned().collect()
    };
    Kept {
        actor: Cow::Borrowed(&call.actor),
        action: Cow::Borrowed(&call.action),
        targets,
        address: Cow::Borrowed(&call.address),
        request_id: Cow::Borrowed(&call.request_id),
        code: *code,
    }
}

fn written(entries: &[Kept<'_>]) -> String {
    serde_json::to_string(entries).expect("texts and numbers are JSON")
}

/// A row that was read.
pub(crate) struct AuditRow {
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
    pub(crate) log: String,
}

/// A page that is being read: rows are put in, newest first.
pub(crate) struct Reading<'r> {
    organization: &'r str,
    filter: &'r AuditFilter,
    below: u64,
    limit: usize,
    looked_at: usize,
    page: AuditPage,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(organization: &'r str, filter: &'r AuditFilter, before: Option<u64>, limit: u32) -> Reading<'r> {
        let below = before.unwrap_or(u64::MAX);
        Reading { organization, filter, below, limit: limit.max(1) as usize, looked_at: 0, page: AuditPage::default() }
    }

    /// The number below which the next rows are wanted, as a row keeps it.
    pub(crate) fn below(&self) -> i64 {
        i64::try_from(self.below).unwrap_or(i64::MAX)
    }

    /// Takes rows; there are no more when they are fewer than were `wanted`. Answers whether more are wanted.
    pub(crate) fn take(&mut self, rows: Vec<AuditRow>, wanted: i64) -> Result<bool, StoreError> {
        let are_last = (rows.len() as i64) < wanted;
        for AuditRow { seq, at, log } in rows {
            if self.filter.since.is_some_and(|since| at < since) {
                // Older entries come later. Where the clock was set back, that is not quite so.
                self.page.next = None;
                return Ok(false);
            }
            self.looked_at += log.len();
            let kept: Vec<Kept<'_>> = serde_json::from_str(&log).map_err(|_| damaged())?;
            for (place, kept) in kept.into_iter().enumerate().rev() {
                let number = seq.unsigned_abs() + place as u64;
                if number >= self.below {
                    continue;
                }
                self.below = number;
                self.page.next = Some(number).filter(|number| *number > 1);
                if self.matches(&kept, at) {
                    self.page.entries.push(entry(self.organization, number, at, kept));
                    if self.page.entries.len() >= self.limit {
                        return Ok(false);
                    }
                }
            }
        }
        if are_last {
            self.page.next = None;
        }
        Ok(!are_last && self.looked_at < PAGE_BYTES)
    }

    fn matches(&self, kept: &Kept<'_>, at: Timestamp) -> bool {
        let AuditFilter { actor, action, target, until, .. } = self.filter;
        actor.as_ref().is_none_or(|actor| kept.actor.id == *actor)
            && action.as_ref().is_none_or(|action| {
                kept.action == *action || (action.ends_with('.') && kept.action.starts_with(action.as_str()))
            })
            && target.as_ref().is_none_or(|target| kept.targets.contains(target))
            && until.is_none_or(|until| at < until)
    }

    pub(crate) fn page(self) -> AuditPage {
        self.page
    }
}

fn entry(organization: &str, number: u64, at: Timestamp, kept: Kept<'_>) -> AuditEntry {
    AuditEntry {
        number,
        at,
        organization: organization.to_owned(),
        actor: kept.actor.into_owned(),
        action: kept.action.into_owned(),
        targets: kept.targets.into_owned(),
        address: kept.address.into_owned(),
        request_id: kept.request_id.into_owned(),
        code: kept.code,
    }
}

pub(crate) fn damaged() -> StoreError {
    StoreError::Unusable("a row of the audit log is damaged".to_owned())
}
