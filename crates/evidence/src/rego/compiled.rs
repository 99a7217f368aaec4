//! Compiled scripts, by the digest of their text.

use std::sync::{Arc, Mutex, PoisonError};

use super::coverage::Coverage;
use super::error::RegoError;
use super::script::Script;
use crate::digest;

/// The maximum number of cached scripts, and the maximum total size of their texts in bytes: a compiled script needs a
/// few hundred times as much memory.
const MAX_SCRIPTS: usize = 256;
const MAX_TEXT: usize = 256 * 1024;

/// Compiles each script once, as long as there is space in the cache. Clones share the cache.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    kept: Arc<Mutex<Kept>>,
    /// The observer of the scripts' runs.
    coverage: Option<Coverage>,
    /// Whether the caller makes the calls of scripts.
    makes_calls: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// The script that was used last is at the end.
    scripts: Vec<One>,
    text: usize,
}

#[derive(Debug)]
struct One {
    digest: String,
    size: usize,
    script: Script,
}

impl Compiled {
    /// The same with an empty cache, for scripts whose runs are observed.
    pub fn covered(self, coverage: Coverage) -> Compiled {
        Compiled { kept: Arc::default(), coverage: Some(coverage), ..self }
    }

    /// The same with an empty cache, for scripts that may call `http.send`.
    pub fn calling(self) -> Compiled {
        Compiled { kept: Arc::default(), makes_calls: true, ..self }
    }

    /// The compiled script of a text.
    ///
    /// # Errors
    /// [`RegoError`], as in [`Script::compile`].
    pub fn script(&self, text: &str) -> Result<Script, RegoError> {
        let digest = digest(text.as_bytes());
        if let Some(script) = self.kept().find(&digest) {
            return Ok(script);
        }
        let mut script = Script::compile_for(text, self.makes_calls)?;
        if let Some(coverage) = &self.coverage {
            script = script.probed(coverage.probe(text));
        }
        self.kept().add(One { digest, size: text.len(), script: script.clone() });
        Ok(script)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, digest: &str) -> Option<Script> {
        let at = self.scripts.iter().rposition(|one| one.digest == digest)?;
        self.scripts[at..].rotate_left(1);
        self.scripts.last().map(|one| one.script.clone())
    }

    fn add(&mut self, one: One) {
        self.text += one.size;
        self.scripts.push(one);
        while self.scripts.len() > MAX_SCRIPTS || self.text > MAX_TEXT {
            self.text -= self.scripts.remove(0).size;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(at: usize, padding: usize) -> String {
        format!("package p{at}\nimport rego.v1\nviolations := []\n#{}\n", "x".repeat(padding))
    }

    #[test]
    fn what_was_used_last_is_kept_within_bounds() {
        let compiled = Compiled::default();
        let digests = || compiled.kept().scripts.iter().map(|one| one.digest.clone()).collect::<Vec<_>>();
        for at in 0..3 {
            compiled.script(&text(at, 0)).unwrap();
        }
        compiled.script(&text(0, 0)).unwrap();
        assert_eq!(digests(), [1, 2, 0].map(|at| digest(text(at, 0).as_bytes())));
        assert!(compiled.script("package").is_err());
        assert_eq!(digests().len(), 3);
        compiled.script(&text(9, 8_000)).unwrap();
        for at in 10..50 {
            let lines = text(at, 7_000) + &format!("#{}\n", "y".repeat(7_000));
            compiled.script(&lines).unwrap();
        }
        let kept = compiled.kept();
        assert!(kept.text <= MAX_TEXT && kept.scripts.len() > 10, "{}", kept.scripts.len());
        assert_eq!(kept.text, kept.scripts.iter().map(|one| one.size).sum::<usize>());
    }
}
