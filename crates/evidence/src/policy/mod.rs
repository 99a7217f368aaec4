//! Policies: the documents, the references between them, and their arguments.
//!
//! Promises: a document that is not valid is refused with its file, field and, if the reader knows them, line and
//! column; a reference never leads out of the policy folder, or to content with another digest than the one that it
//! pins; the digest of everything that was used is known.

mod document;
mod error;
mod findings;
mod folder;
mod inputs;
mod lint;
mod resolver;
#[cfg(test)]
mod tests;

pub use document::{
    Body, GroupMaterial, Input, MatchMode, MaterialSelector, Metadata, Policy, PolicyAttachment, PolicyGroup, Scalar,
    ScriptSource,
};
pub use error::PolicyError;
pub use findings::FindingType;
pub use folder::{PolicyFolder, plain_reference};
pub(crate) use folder::{content_digest, file_digest};
pub use inputs::{Arguments, interpolate};
pub use lint::lint;
pub use resolver::{Loaded, PolicyCache, Resolver, is_host_allowed};

use crate::rego::Script;

/// The text of one of a policy's scripts.
pub struct ScriptText {
    /// Its location: a field of the document, or the reference in the document.
    pub place: String,
    /// Its text.
    pub text: String,
    /// The digest of its file in the policy folder; `None`: the document contains the script, or pins it.
    pub file_digest: Option<String>,
}

impl Policy {
    /// Compiles one of the policy's scripts.
    pub fn script(&self, script: &ScriptText, resolver: &Resolver) -> Result<Script, PolicyError> {
        resolver.compiled().script(&script.text).map_err(|source| {
            let (policy, place) = (self.metadata.name.clone(), script.place.clone());
            PolicyError::Script { policy, place, source }
        })
    }

    /// Reads one of the policy's scripts.
    pub fn script_text(&self, document: &Loaded, index: usize, resolver: &Resolver) -> Result<ScriptText, PolicyError> {
        let script = &self.scripts[index];
        let (place, loaded) = match &script.body {
            Body::Embedded(text) => return resolver::embedded(format!("{}.embedded", script.field), text),
            Body::Path(path) => (path, resolver.load_beside(document, path)?),
            Body::Ref(reference) => (reference, resolver.load_script(document, reference)?),
        };
        let file_digest = (!loaded.is_remote).then_some(loaded.digest);
        Ok(ScriptText { place: place.clone(), text: loaded.text, file_digest })
    }
}
