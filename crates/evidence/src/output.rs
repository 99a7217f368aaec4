//! The result of an evaluation: the operation's output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::material::MaterialKind;
use crate::waivers::{Difference, Waived};

/// The output of an `evidence_evaluation`, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The evidence that was evaluated.
    pub evidence: EvidenceOutput,
    /// The verdict over all policies: failed if one failed, else passed if one passed, else skipped.
    pub status: Status,
    /// Each policy that ran, in the order of the request.
    pub policies: Vec<PolicyOutput>,
    /// Each group in the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupOutput>,
    /// Each policy that does not apply to this material.
    pub left_out: Vec<LeftOut>,
    /// The counts of each.
    pub totals: Totals,
    /// Every waiver that covers one of the violations, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<Waived>,
    /// What is new and gone since the last evaluation of the same evidence by the same policies, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

impl Output {
    /// Adds the result of another policy, which counts for the verdict as the others do.
    pub fn add(&mut self, policy: PolicyOutput) {
        self.policies.push(policy);
        self.totals = Totals::count(&self.policies, &self.left_out);
        self.status = self.totals.status();
    }
}

/// The evidence that was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceOutput {
    /// `sha256:<64 hex>`.
    pub digest: String,
    /// As named in the request, or as detected.
    pub kind: MaterialKind,
    /// Empty for none.
    pub name: String,
    /// In bytes.
    pub size: usize,
}

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There are no violations.
    Passed,
    /// There are violations.
    Failed,
    /// Nothing was evaluated.
    Skipped,
}

/// The result of one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyOutput {
    /// The policy's name.
    pub name: String,
    /// The reference, or `embedded`.
    pub reference: String,
    /// The digest of the policy's document.
    pub digest: String,
    /// The digest of the document with the scripts that it names in other files; absent when it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_digest: Option<String>,
    /// The material type of the script that ran; absent when it is for every type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The group that included it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The verdict.
    pub status: Status,
    /// The violations.
    pub violations: Vec<ViolationOutput>,
    /// The findings that it did not count as violations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<ViolationOutput>,
    /// Whether all its scripts skipped, or one could not be run and no other one found a violation.
    pub skipped: bool,
    /// Why it was skipped.
    pub skip_reasons: Vec<String>,
    /// Why a part of it could not be evaluated, although it failed; absent otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_evaluated: Vec<String>,
    /// Whether it requested to be ignored. Such policies are not included, so always false.
    pub ignored: bool,
    /// The effective arguments, defaults included.
    #[serde(rename = "with")]
    pub arguments: BTreeMap<String, String>,
    /// Arguments that it does not accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What was sent to a model and what that cost; only for the check `prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai: Option<AiOutput>,
}

/// What was sent to a model, and what that cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AiOutput {
    /// The model's name, as the provider knows it.
    pub model: String,
    /// How many bytes of the evidence the model saw.
    pub evidence_bytes: u64,
    /// How many answers it took until one had the form of a verdict.
    pub answers: u32,
    /// Tokens that the model read, in all answers, as the provider counts them.
    pub prompt_tokens: u64,
    /// Tokens that the model wrote.
    pub completion_tokens: u64,
}

/// A group whose policies were evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOutput {
    /// The group's name.
    pub name: String,
    /// The reference.
    pub reference: String,
    /// The digest of the group's document.
    pub digest: String,
}

/// A violation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViolationOutput {
    /// The policy's name.
    pub subject: String,
    /// The message, for people.
    pub message: String,
    /// The object that the policy created for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<serde_json::Value>,
    /// The waiver that covers it: then it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waived>,
}

/// A policy that does not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The policy's name or, when it was not read, its reference.
    pub name: String,
    /// The reference, or `embedded`.
    pub reference: String,
    /// Why it does not apply.
    pub reason: String,
}

/// The counts of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Policies that ran.
    pub policies: usize,
    /// Policies without violations.
    pub passed: usize,
    /// Policies with violations.
    pub failed: usize,
    /// Policies without a verdict.
    pub skipped: usize,
    /// Policies that do not apply.
    pub left_out: usize,
    /// The violations of policies that did not skip, without those that are waived.
    pub violations: usize,
    /// The violations that are waived.
    #[serde(default, skip_serializing_if = "is_none")]
    pub waived: usize,
}

impl Totals {
    pub(crate) fn count(policies: &[PolicyOutput], left_out: &[LeftOut]) -> Totals {
        let of = |status| policies.iter().filter(|policy| policy.status == status).count();
        Totals {
            policies: policies.len(),
            passed: of(Status::Passed),
            failed: of(Status::Failed),
            skipped: of(Status::Skipped),
            left_out: left_out.len(),
            violations: policies
                .iter()
                .filter(|policy| policy.status != Status::Skipped)
                .map(|policy| policy.violations.iter().filter(|violation| violation.waived.is_none()).count())
                .sum(),
            waived: policies
                .iter()
                .map(|policy| policy.violations.iter().filter(|violation| violation.waived.is_some()).count())
                .sum(),
        }
    }

    pub(crate) fn status(self) -> Status {
        match self {
            Totals { failed: 1.., .. } => Status::Failed,
            Totals { passed: 1.., .. } => Status::Passed,
            _ => Status::Skipped,
        }
    }
}

/// A count of zero is omitted.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(count: &usize) -> bool {
    *count == 0
}
