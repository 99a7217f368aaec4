//! Policies: the documents, the references between them, and their arguments.
//!
//! Promises: a document that is not in order is refused with its file, field and, where the reader knows it, line and
//! column; a reference never leads out of the policy folder, or to what has another digest than it says; whatever was used is known by its digest.

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
pub(crate) use folder::content_digest;
pub use folder::{PolicyFolder, plain_reference};
pub use inputs::{Arguments, interpolate};
pub use lint::lint;
pub use resolver::{Loaded, Resolver};

use crate::rego::Script;

impl Policy {
    /// Reads and compiles one of the policy's scripts.
    pub fn script(&self, document: &Loaded, index: usize, resolver: &Resolver) -> Result<Script, PolicyError> {
        let (place, text) = self.script_text(document, index, resolver)?;
        resolver.compiled().script(&text).map_err(|source| {
            let policy = self.metadata.name.clone();
            PolicyError::Script { policy, place, source }
        })
    }

    /// Where one of the policy's scripts stands, and its text.
    pub fn script_text(
        &self,
        document: &Loaded,
        index: usize,
        resolver: &Resolver,
    ) -> Result<(String, String), PolicyError> {
        Ok(match &self.scripts[index].body {
            Body::Embedded(text) => resolver::embedded(format!("spec.policies[{index}].embedded"), text)?,
            Body::Path(path) => (path.clone(), resolver.load_beside(document, path)?.text),
            Body::Ref(reference) => (reference.clone(), resolver.load_script(document, reference)?.text),
        })
    }
}
