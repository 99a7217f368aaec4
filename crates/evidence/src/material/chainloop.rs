//! Evidence that Chainloop itself collects. Its schemas are versioned; the requirements that all versions share are
//! checked.

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;

type Checked = Result<(), MaterialError>;

/// The member that identifies the type of such a document.
pub const ID: &str = "chainloop.material.evidence.id";
/// The prefix of the identifier of a runner context.
pub const RUNNER_CONTEXT: &str = "chainloop.dev/runner-context/";

/// What the runner plugin reports about repositories.
pub fn runner_context(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::ChainloopRunnerContext, value);
    let id = root.required("meta")?;
    let id = id.required("id")?;
    if !id.string()?.starts_with(RUNNER_CONTEXT) {
        return Err(id.expected(format!("{RUNNER_CONTEXT}…")));
    }
    let data = root.required("data")?;
    data.required("provider")?.text()?;
    data.each_in("repos", |repository| {
        repository.strings(&["owner", "repository"])?;
        repository.each_in("branches", |branch| branch.object())?;
        repository.each_in("tags", |tag| tag.object())
    })
}

/// Checks a document that states its type in an identifier.
pub fn evidence(kind: MaterialKind, value: &Value) -> Checked {
    let root = Node::root(kind, value);
    root.required(ID)?.one_of(&[kind.as_str()])?;
    root.strings(&["schema"])?;
    let data = root.required("data")?;
    match kind {
        MaterialKind::ChainloopPrInfo => {
            data.required("platform")?.one_of(&["github", "gitlab"])?;
            data.required("type")?.one_of(&["pull_request", "merge_request"])?;
            data.required("number")?.text()?;
            data.strings(&["title", "description", "source_branch", "target_branch", "url"])?;
            // A name, or, from version 1.2 of the schema on, an object.
            data.optional("author", |author| match author.object() {
                Ok(()) => author.required("login")?.text().map(drop),
                Err(_) => author.string().map(drop),
            })?;
            data.each_in("reviewers", |reviewer| reviewer.required("login")?.text().map(drop))
        }
        MaterialKind::ChainloopAiAgentConfig => {
            data.required("agent")?.required("name")?.text()?;
            data.required("config_hash")?.text()?;
            data.required("config_files")?.each(|file| {
                for name in ["path", "sha256", "content"] {
                    file.required(name)?.string()?;
                }
                file.required("size")?.integer(0).map(drop)
            })
        }
        _ => {
            data.required("schema_version")?.text()?;
            data.required("agent")?.required("name")?.text()?;
            let session = data.required("session")?;
            session.required("id")?.text()?;
            session.required("started_at")?.timestamp()?;
            session.optional("duration_seconds", |seconds| seconds.number(0.0, f64::MAX).map(drop))?;
            data.optional("code_changes", |changes| {
                changes.object()?;
                for name in ["lines_added", "ai_lines_added"] {
                    changes.optional(name, |lines| lines.integer(0).map(drop))?;
                }
                Ok(())
            })
        }
    }
}
