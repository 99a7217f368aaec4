//! Which lines of a script were evaluated, over all of its runs.
//!
//! A line counts if it contains something to evaluate; the value of a `default` does not, since no condition applies to
//! it. The head of a rule is evaluated once one of its bodies holds, so a rule whose body never held is reported with
//! its first line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use regorus::Engine;
use regorus::unstable::{Module, Rule};
use serde::Serialize;

use super::error::{RegoError, engine_error};
use super::script::parse;
use super::{imports, walk};
use crate::digest;

/// Records which lines of the observed scripts were evaluated. Clones record together.
#[derive(Clone, Debug, Default)]
pub struct Coverage(Arc<Mutex<BTreeMap<String, Lines>>>);

#[derive(Clone, Debug, Default)]
struct Lines {
    evaluated: BTreeSet<u32>,
    /// All lines that can be evaluated, including those that were.
    all: BTreeSet<u32>,
}

/// The coverage of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScriptCoverage {
    /// The file of the script, or the field of the document that contains it.
    pub script: String,
    /// The number of lines that contain something to evaluate.
    pub lines: usize,
    /// How many of them were evaluated.
    pub evaluated: usize,
    /// The rules with a line that was not evaluated, in the order of the script.
    pub gaps: Vec<Gap>,
}

/// A rule that was not completely evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The rule's name.
    pub rule: String,
    /// The lines that were never evaluated, counted from 1.
    pub lines: Vec<u32>,
}

/// The recorder for one script.
#[derive(Clone, Debug)]
pub struct Probe {
    coverage: Coverage,
    digest: String,
}

impl Coverage {
    /// The recorder for the script with this text.
    pub fn probe(&self, text: &str) -> Probe {
        Probe { coverage: self.clone(), digest: digest(text.as_bytes()) }
    }

    /// The coverage of a script so far; `place` names the script in the result.
    ///
    /// # Errors
    /// [`RegoError`] when the text is not a script.
    pub fn of(&self, place: &str, text: &str) -> Result<ScriptCoverage, RegoError> {
        let module = parse(&imports::settle(text))?;
        let mut lines = self.lock().get(&digest(text.as_bytes())).cloned().unwrap_or_default();
        let rules: Vec<(u32, u32, &str)> = module.policy.iter().filter_map(|rule| extent(rule)).collect();
        // For a script that no case ran, the engine reports no lines.
        if lines.all.is_empty() {
            lines.all = written(&module);
        }
        let counts = |line: &u32| rules.iter().any(|(first, last, _)| (first..=last).contains(&line));
        lines.all.retain(counts);
        lines.evaluated.retain(counts);
        let gaps = rules.iter().filter_map(|(first, last, rule)| {
            let missing = lines.all.range(first..=last).filter(|line| !lines.evaluated.contains(line));
            let missing: Vec<u32> = missing.copied().collect();
            (!missing.is_empty()).then(|| Gap { rule: (*rule).to_owned(), lines: missing })
        });
        Ok(ScriptCoverage {
            script: place.to_owned(),
            lines: lines.all.len(),
            evaluated: lines.evaluated.len(),
            gaps: gaps.collect(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Lines>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Makes the engine record coverage; to be called before the run.
    pub(super) fn attach(engine: &mut Engine) {
        engine.set_enable_coverage(true);
    }

    /// Adds the lines that were recorded in a run.
    pub(super) fn add(&self, engine: &Engine) -> Result<(), RegoError> {
        let report = engine.get_coverage_report().map_err(engine_error)?;
        let mut all = self.coverage.lock();
        let lines = all.entry(self.digest.clone()).or_default();
        for file in report.files {
            lines.all.extend(file.covered.iter().chain(&file.not_covered));
            lines.evaluated.extend(file.covered);
        }
        Ok(())
    }
}

/// The first and the last line of a rule, and its name; `None` for a default.
fn extent(rule: &Rule) -> Option<(u32, u32, &str)> {
    let Rule::Spec { span, .. } = rule else { return None };
    let more = span.text().trim_end().matches('\n').count();
    Some((span.line, span.line.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)), walk::rule_name(rule)?))
}

/// The lines of a script that contain an expression.
fn written(module: &Module) -> BTreeSet<u32> {
    let mut lines = BTreeSet::new();
    walk::each_expr(module, &mut |expr| {
        lines.insert(expr.span().line);
    });
    lines
}
