//! SARIF 2.1.0 (OASIS): the members that policies rely on, with clear errors, and then the schema of the standard.

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use super::schema;
use regorus::Value;

type Checked = Result<(), MaterialError>;

const LEVELS: &[&str] = &["none", "note", "warning", "error"];
const KINDS: &[&str] = &["notApplicable", "pass", "fail", "review", "open", "informational"];

/// Checks a log file.
pub fn validate(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::Sarif, value);
    root.object()?;
    root.required("version")?.one_of(&["2.1.0"])?;
    root.each_in("inlineExternalProperties", complete)?;
    root.required("runs")?.each(|run| {
        let tool = run.required("tool")?;
        component(&tool.required("driver")?)?;
        run.optional("externalPropertyFileReferences", complete)?;
        tool.each_in("extensions", component)?;
        run.each_in("results", result)?;
        run.each_in("invocations", |invocation| {
            let success = invocation.required("executionSuccessful")?;
            success.boolean().map(drop)
        })?;
        run.each_in("artifacts", |node| node.object())
    })?;
    schema::sarif(value)
}

/// Checks that nothing that verdicts depend on is stored outside of its run (SARIF 3.15.2 and 3.15.3): policies read
/// only runs, so that findings elsewhere would pass.
fn complete(node: &Node<'_>) -> Checked {
    node.object()?;
    for part in ["results", "driver", "extensions", "invocations", "policies"] {
        // There is one driver; for the other parts there is a list, which may be empty.
        let is_list = |apart: &Node<'_>| part != "driver" && apart.each(|_| Ok(())).is_ok();
        if let Some(apart) = node.field(part).filter(|apart| !is_list(apart) || !apart.is_empty()) {
            let expected = format!("a run that holds its {part} itself (write the log without external properties)");
            return Err(apart.expected(expected));
        }
    }
    Ok(())
}

fn component(node: &Node<'_>) -> Checked {
    node.required("name")?.text()?;
    node.strings(&["version", "semanticVersion", "informationUri"])?;
    node.each_in("rules", |rule| {
        rule.required("id")?.text()?;
        rule.optional("defaultConfiguration", |configuration| {
            configuration.optional("level", |level| level.one_of(LEVELS).map(drop))
        })
    })
}

fn result(node: &Node<'_>) -> Checked {
    let message = node.required("message")?;
    message.object()?;
    match (message.field("text"), message.field("id")) {
        (None, None) => return Err(message.expected("a message with text or id")),
        (text, id) => {
            text.map_or(Ok(()), |text| text.string().map(drop))?;
            id.map_or(Ok(()), |id| id.string().map(drop))?;
        }
    }
    node.strings(&["ruleId", "guid", "correlationGuid"])?;
    node.optional("level", |level| level.one_of(LEVELS).map(drop))?;
    node.optional("kind", |kind| kind.one_of(KINDS).map(drop))?;
    node.optional("ruleIndex", |index| index.integer(-1).map(drop))?;
    node.each_in("locations", location)?;
    node.each_in("suppressions", |suppression| {
        suppression.required("kind")?.one_of(&["inSource", "external"])?;
        suppression.optional("status", |status| status.one_of(&["accepted", "underReview", "rejected"]).map(drop))
    })
}

fn location(node: &Node<'_>) -> Checked {
    node.object()?;
    node.optional("physicalLocation", |physical| {
        physical.object()?;
        physical.optional("artifactLocation", |artifact| {
            artifact.object()?;
            artifact.strings(&["uri", "uriBaseId"])
        })?;
        physical.optional("region", |region| {
            region.object()?;
            region.optional("startLine", |line| line.integer(1).map(drop))?;
            region.optional("startColumn", |column| column.integer(1).map(drop))?;
            region.optional("endLine", |line| line.integer(1).map(drop))
        })
    })
}
