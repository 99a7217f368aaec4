//! Evaluates evidence: reads it once, plans, runs the policies concurrently, merges their verdicts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use attestation::{Identities, PublicKey, TrustedIdentities, TrustedKey};
use serde::{Deserialize, Serialize};

use crate::error::EvaluateError;
use crate::material::{Material, Metadata};
use crate::output::{EvidenceOutput, Output, PolicyOutput, Status, Totals, ViolationOutput};
use crate::plan::{Plan, Planned, Subject};
use crate::policy::{PolicyAttachment, PolicyCache, PolicyError, Resolver};
use crate::rego::{Coverage, HttpCalls, Limits, RegoError, Verdict, Violation};
use crate::request::{EvaluateRequest, RequestError};

/// How many bytes of memory a byte of evidence may need once it is parsed: about 7 were measured for SBOMs.
const EXPANSION: u64 = 8;

/// The settings of evaluations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvaluatorConfig {
    /// The folder that references point to; without it only embedded policies can be used.
    pub policy_dir: Option<PathBuf>,
    /// Policies from the network; without it, network references are refused.
    pub policy_cache: Option<PolicyCache>,
    /// What is evaluated when a request names neither policies nor groups.
    pub default_policies: Vec<PolicyAttachment>,
    /// The longest time that all policies of one evaluation may take together.
    pub time_limit: Duration,
    /// How much memory one evaluation may use, in bytes. Evidence that would need more is refused before it is read. On
    /// threads of this process the limit applies to the evidence only; in a process of its own that evaluates nothing
    /// else, it applies to the whole.
    pub memory_limit: u64,
    /// Keys whose signatures on attestations are trusted; policies see the result of the verification.
    pub trusted_keys: Vec<TrustedKey>,
    /// Identities in certificates of Sigstore whose signatures are trusted, too.
    pub trusted_identities: Option<TrustedIdentities>,
    /// Whether policies may call `http.send`: the caller makes the calls ([`Evaluator::evaluate_calling`]).
    pub makes_calls: bool,
}

impl EvaluatorConfig {
    /// Refuses evidence that is so large that it would need more than the memory limit.
    ///
    /// # Errors
    /// [`EvaluateError::TooLarge`].
    pub fn check_size(&self, size: u64) -> Result<(), EvaluateError> {
        if size.saturating_mul(EXPANSION) > self.memory_limit {
            return Err(EvaluateError::TooLarge { size, limit: self.memory_limit });
        }
        Ok(())
    }
}

impl Default for EvaluatorConfig {
    fn default() -> EvaluatorConfig {
        EvaluatorConfig {
            policy_dir: None,
            policy_cache: None,
            default_policies: Vec::new(),
            time_limit: Duration::from_secs(60),
            memory_limit: 1024 * 1024 * 1024,
            trusted_keys: Vec::new(),
            trusted_identities: None,
            makes_calls: false,
        }
    }
}

/// Evaluates evidence. This blocks: call it off the async threads.
#[derive(Clone, Debug)]
pub struct Evaluator {
    config: EvaluatorConfig,
    resolver: Resolver,
    trusted_keys: Arc<[(String, PublicKey)]>,
    trusted_identities: Option<Arc<Identities>>,
}

impl Evaluator {
    /// An evaluator. Default policies that have yet to be fetched are checked when they are needed.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy folder does not exist or a default policy is not valid.
    pub fn new(config: EvaluatorConfig) -> Result<Evaluator, EvaluateError> {
        let evaluator = Evaluator::unchecked(config)?;
        let mut plan = Plan::default();
        for attachment in &evaluator.config.default_policies {
            if let Err(error) = plan.add(&evaluator.resolver, None, attachment, None)
                && evaluator.take_missing().is_empty()
            {
                return Err(error);
            }
        }
        Ok(evaluator)
    }

    /// An evaluator whose default policies are checked only when they are needed.
    pub fn unchecked(config: EvaluatorConfig) -> Result<Evaluator, EvaluateError> {
        let mut resolver = Resolver::new(config.policy_dir.as_deref())?;
        if let Some(cache) = &config.policy_cache {
            resolver = resolver.with_cache(cache.clone());
        }
        if config.makes_calls {
            resolver = resolver.calling();
        }
        let read = |key: &TrustedKey| match key.read() {
            Ok(public) => Ok((key.name.clone(), public)),
            Err(source) => Err(EvaluateError::TrustedKey { name: key.name.clone(), source }),
        };
        let trusted_keys = config.trusted_keys.iter().map(read).collect::<Result<_, _>>()?;
        let trusted_identities =
            config.trusted_identities.as_ref().map(TrustedIdentities::read).transpose()?.map(Arc::new);
        Ok(Evaluator { config, resolver, trusted_keys, trusted_identities })
    }

    /// The network references that could not be resolved since the last call because they are not in the cache. A check
    /// or an evaluation that failed meanwhile must be repeated once they have been fetched.
    pub fn take_missing(&self) -> BTreeSet<String> {
        self.resolver.take_missing()
    }

    /// The same, with the runs of its scripts observed.
    pub(crate) fn covered(mut self, coverage: Coverage) -> Evaluator {
        self.resolver = self.resolver.covered(coverage);
        self
    }

    /// Checks a request as far as that is possible without the evidence: every policy exists, is valid, and has its
    /// inputs.
    ///
    /// # Errors
    /// [`RequestError`] with the path of the first field that is not valid.
    pub fn check(&self, request: &EvaluateRequest) -> Result<(), RequestError> {
        request.validate()?;
        let mut plan = Plan::default();
        if !request.names_policies() && self.config.policy_cache.is_some() {
            // These are not from the caller: they are resolved only to record which ones have yet to be fetched.
            for attachment in &self.config.default_policies {
                let _ = plan.add(&self.resolver, None, attachment, None);
            }
        }
        for (index, attachment) in request.policies.iter().flatten().enumerate() {
            let added = plan.add(&self.resolver, None, attachment, None);
            added.map_err(|error| {
                let in_document = attachment.embedded.is_some()
                    && !matches!(error, EvaluateError::Policy(PolicyError::MissingInput { .. }));
                let part = if in_document { ".embedded" } else { "" };
                RequestError::new(format!("policies[{index}]{part}"), error)
            })?;
        }
        for (index, group) in request.policy_groups.iter().flatten().enumerate() {
            let added = plan.add_group(&self.resolver, None, group);
            added.map_err(|error| RequestError::new(format!("policy_groups[{index}]"), error))?;
        }
        Ok(())
    }

    /// Evaluates. The digest in the request is assumed to be that of the bytes.
    ///
    /// # Errors
    /// [`EvaluateError`] when there is no verdict: unreadable evidence, a broken policy, the time limit.
    pub fn evaluate(&self, request: &EvaluateRequest, bytes: &[u8]) -> Result<Output, EvaluateError> {
        self.evaluate_calling(request, bytes, None)
    }

    /// The same, with calls that the policies may make. The result, even an error, counts only if no call remains to be
    /// made ([`HttpCalls::take_asked`]); otherwise the evaluation must be repeated with the answers.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn evaluate_calling(
        &self,
        request: &EvaluateRequest,
        bytes: &[u8],
        calls: Option<&HttpCalls>,
    ) -> Result<Output, EvaluateError> {
        let deadline = Instant::now() + self.config.time_limit;
        self.config.check_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
        let metadata = Metadata {
            name: request.name.as_deref().unwrap_or_default(),
            digest: &request.digest,
            annotations: request.annotations.clone(),
            project_name: request.project_name.as_deref(),
            project_version_name: request.project_version_name.as_deref(),
            trusted_keys: &self.trusted_keys,
            trusted_identities: self.trusted_identities.as_deref(),
        };
        let material = Material::parse(request.material_kind()?, &metadata, bytes)?;
        let plan = self.plan(request, Subject { kind: material.kind(), name: metadata.name })?;
        let policies = run_all(&plan.policies, &material, calls, deadline, self.config.time_limit)?;
        let totals = Totals::count(&policies, &plan.left_out);
        Ok(Output {
            evidence: EvidenceOutput {
                digest: request.digest.clone(),
                kind: material.kind(),
                name: metadata.name.to_owned(),
                size: material.size(),
            },
            status: totals.status(),
            policies,
            groups: plan.groups,
            left_out: plan.left_out,
            totals,
            waivers: Vec::new(),
            difference: None,
        })
    }

    fn plan(&self, request: &EvaluateRequest, subject: Subject<'_>) -> Result<Plan, EvaluateError> {
        let mut plan = Plan::default();
        let named = request.policies.as_deref().unwrap_or_default();
        // The caller must not be able to bypass the organization's default policies.
        let attachments = if request.names_policies() { named } else { self.config.default_policies.as_slice() };
        for attachment in attachments {
            plan.add(&self.resolver, Some(subject), attachment, None)?;
        }
        for group in request.policy_groups.iter().flatten() {
            plan.add_group(&self.resolver, Some(subject), group)?;
        }
        Ok(plan)
    }
}

/// Runs every policy, as many at a time as there are processors; the first error stops the rest.
fn run_all(
    planned: &[Planned],
    material: &Material,
    calls: Option<&HttpCalls>,
    deadline: Instant,
    limit: Duration,
) -> Result<Vec<PolicyOutput>, EvaluateError> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(planned.len());
    if workers < 2 {
        let outcomes = planned.iter().map(|policy| run_one(policy, material, calls, deadline, limit));
        return outcomes.filter_map(Result::transpose).collect();
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(policy) = planned.get(index) else { return };
                    let outcome = run_one(policy, material, calls, deadline, limit);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcomes.lock().expect("no thread panics while it holds this lock").push((index, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panics while it holds this lock");
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().filter_map(|(_, outcome)| outcome.transpose()).collect()
}

/// Runs the scripts of a policy and merges their results; `None` when all of them request to be ignored.
fn run_one(
    policy: &Planned,
    material: &Material,
    calls: Option<&HttpCalls>,
    deadline: Instant,
    limit: Duration,
) -> Result<Option<PolicyOutput>, EvaluateError> {
    let start = Instant::now();
    let mut verdicts: Vec<Verdict> = Vec::new();
    for script in &policy.scripts {
        let time = deadline.saturating_duration_since(Instant::now());
        let outcome = script.run_calling(material.input(), policy.arguments.rego(), Limits { time }, calls);
        let verdict = outcome.map_err(|error| match error {
            // The time that was left would not help the reader.
            RegoError::TimeLimit(_) => {
                EvaluateError::Evaluation { policy: policy.name.clone(), source: RegoError::TimeLimit(limit) }
            }
            source => EvaluateError::Evaluation { policy: policy.name.clone(), source },
        })?;
        if !verdict.ignored {
            verdicts.push(verdict);
        }
    }
    if verdicts.is_empty() {
        return Ok(None);
    }
    let is_whole = verdicts.iter().all(|verdict| !verdict.unevaluated);
    let mut skipped = verdicts.iter().all(|verdict| verdict.skipped);
    let mut reasons = Vec::new();
    let (mut violations, mut suppressed) = (Vec::new(), Vec::new());
    for verdict in verdicts {
        let is_reason = (skipped || verdict.unevaluated) && !verdict.skip_reason.is_empty();
        if is_reason && !reasons.contains(&verdict.skip_reason) {
            reasons.push(verdict.skip_reason);
        }
        for (reported, found) in [(&mut violations, verdict.violations), (&mut suppressed, verdict.suppressed)] {
            for violation in found {
                reported.push(violation_output(policy, violation)?);
            }
        }
    }
    // What could not be evaluated has not passed.
    skipped |= !is_whole && violations.is_empty();
    let (skip_reasons, not_evaluated) = if skipped { (reasons, Vec::new()) } else { (Vec::new(), reasons) };
    let status = match (skipped, violations.is_empty()) {
        (true, _) => Status::Skipped,
        (false, true) => Status::Passed,
        (false, false) => Status::Failed,
    };
    Ok(Some(PolicyOutput {
        name: policy.name.clone(),
        reference: policy.document.reference.clone(),
        digest: policy.document.digest.clone(),
        content_digest: policy.content_digest.clone(),
        kind: policy.kind.clone(),
        group: policy.group.clone(),
        status,
        violations,
        suppressed,
        skipped,
        skip_reasons,
        not_evaluated,
        ignored: false,
        arguments: policy.arguments.values.clone(),
        warnings: policy.arguments.warnings.clone(),
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        ai: None,
    }))
}

/// A violation in the form in which it is reported, after checking it against the finding type that the policy
/// declares.
fn violation_output(policy: &Planned, violation: Violation) -> Result<ViolationOutput, EvaluateError> {
    let Violation { message, finding } = violation;
    if let (Some(declared), Some(serde_json::Value::Object(finding))) = (policy.finding_type, &finding) {
        declared.check(finding).map_err(|error| EvaluateError::Evaluation {
            policy: policy.name.clone(),
            source: RegoError::BadResult(error),
        })?;
    }
    Ok(ViolationOutput { subject: policy.name.clone(), message, finding, waived: None })
}
