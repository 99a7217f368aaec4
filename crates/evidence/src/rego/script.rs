//! From the text of a script to a script that can be run.

use std::sync::Arc;

use regorus::Engine;
use regorus::unstable::{Module, Parser};

use super::builtins::Calls;
use super::coverage::Probe;
use super::error::{RegoError, engine_error};
use super::graph::Graph;
use super::guard::MAX_BYTES;
use super::text::Edits;
use super::{
    boilerplate, builtins, definitions, guard, heads, imports, membership, negation, own, patterns, rewrite, safety,
    walk,
};

/// A script, checked, completed and ready to run.
#[derive(Clone)]
pub struct Script {
    pub(super) engine: Engine,
    pub(super) entry_point: String,
    pub(super) calls: Arc<Calls>,
    pub(super) probe: Option<Probe>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("entry_point", &self.entry_point).field("calls", &self.calls).finish()
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// [`RegoError`] when it is not Rego v1, or calls functions that are forbidden or do not exist.
    pub fn compile(text: &str) -> Result<Script, RegoError> {
        Script::compile_for(text, false)
    }

    /// The same; it may call `http.send` if the caller makes the calls (`makes_calls`).
    ///
    /// # Errors
    /// As [`Script::compile`].
    pub fn compile_for(text: &str, makes_calls: bool) -> Result<Script, RegoError> {
        if text.len() > MAX_BYTES {
            return Err(RegoError::Engine(format!("the script is larger than {MAX_BYTES} bytes")));
        }
        let text = &imports::settle(text);
        let module = parse(text)?;
        let package = walk::path(&module.package.refr)
            .map(|path| format!("data.{path}"))
            .ok_or_else(|| RegoError::Engine("the package has a name that is not plain".to_owned()))?;
        let calls = builtins::check(&module, &package, makes_calls)?;
        let (renamed, rewritten) = terms(rewrite::rewrite(text, &module, &boilerplate::NAMES))?;
        let mut complete = heads::rewrite(&renamed, &rewritten);
        complete.push_str(&boilerplate::missing(&module));
        let completed = parse(&complete)?;
        definitions::check(&completed, &package)?;
        safety::check(&completed, &package)?;
        let graph = Graph::of(&completed, &package);
        graph.check()?;
        let warnings = boilerplate::objections(&module, &graph)?;
        let evaluated = negation::rewrite(&complete, &completed, &package)?;

        let mut engine = Engine::new();
        engine.set_policy_length_config(guard::lengths());
        engine.set_strict_builtin_errors(true);
        // Otherwise print would write to the service's standard error.
        engine.set_gather_prints(true);
        own::add(&mut engine)?;
        engine.add_policy("policy".to_owned(), evaluated).map_err(engine_error)?;
        let entry_point = format!("{package}.result");
        // Makes the engine check every rule now, so that mistakes are reported before there is evidence.
        engine.compile_with_entrypoint(&entry_point.as_str().into()).map_err(engine_error)?;
        Ok(Script { engine, entry_point, calls: Arc::new(calls), probe: None, warnings })
    }

    /// The script, with its runs observed by the probe.
    pub(super) fn probed(mut self, probe: Probe) -> Script {
        self.probe = Some(probe);
        self
    }

    /// Things that are allowed but probably not intended: rules that are never used, a policy that can never report a
    /// violation.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The source with its memberships and patterns rewritten, and its module.
fn terms(source: String) -> Result<(String, Module), RegoError> {
    let module = parse(&source)?;
    let mut edits = Edits::new(&source, &module);
    membership::rewrite(&mut edits, &module);
    patterns::rewrite(&mut edits, &module);
    if edits.is_empty() {
        return Ok((source, module));
    }
    let rewritten = edits.finish();
    let module = parse(&rewritten)?;
    Ok((rewritten, module))
}

pub(super) fn parse(text: &str) -> Result<Module, RegoError> {
    let source = guard::source(text)?;
    guard::check(&source)?;
    let parsed = Parser::new(&source).and_then(|mut parser| {
        parser.set_max_col(guard::lengths().max_col);
        parser.enable_rego_v1()?;
        parser.parse()
    });
    parsed.map_err(engine_error)
}
