//! Small JSON formats: OpenVEX and OpenSSF Scorecard.

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use regorus::Value;

type Checked = Result<(), MaterialError>;

const STATUSES: &[&str] = &["not_affected", "affected", "fixed", "under_investigation"];
const JUSTIFICATIONS: &[&str] = &[
    "component_not_present",
    "vulnerable_code_not_present",
    "vulnerable_code_not_in_execute_path",
    "vulnerable_code_cannot_be_controlled_by_adversary",
    "inline_mitigations_already_exist",
];

/// Checks an OpenVEX document, <https://github.com/openvex/spec>.
pub fn openvex(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::Openvex, value);
    root.object()?;
    let context = root.required("@context")?;
    // Merged documents of early tools leave it empty, and start their versions at 0.
    if !context.string()?.is_empty() && !context.string()?.starts_with("https://openvex.dev/ns") {
        return Err(context.expected("https://openvex.dev/ns…"));
    }
    root.required("@id")?.text()?;
    root.required("author")?.text()?;
    root.required("timestamp")?.timestamp()?;
    let version = root.required("version")?;
    // The first version of the specification wrote it as a string.
    if version.string().is_err() {
        version.integer(0)?;
    }
    root.required("statements")?.each(|statement| {
        // A string until 0.0.1, an object with a name since 0.2.0.
        let vulnerability = statement.required("vulnerability")?;
        if vulnerability.string().is_err() {
            vulnerability.required("name")?.text()?;
        }
        statement.each_in("products", |product| if product.string().is_ok() { Ok(()) } else { product.object() })?;
        let status = statement.required("status")?.one_of(STATUSES)?;
        statement.optional("justification", |reason| reason.one_of(JUSTIFICATIONS).map(drop))?;
        let explained = statement.field("justification").is_some() || statement.field("impact_statement").is_some();
        if status == "not_affected" && !explained {
            return Err(statement.expected("a justification or an impact_statement with the status not_affected"));
        }
        Ok(())
    })
}

/// Checks a result of OpenSSF Scorecard.
pub fn scorecard(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::OssfScorecardJson, value);
    root.object()?;
    root.required("date")?.text()?;
    root.required("repo")?.required("name")?.text()?;
    root.required("scorecard")?.required("version")?.text()?;
    // -1: the check could not be carried out.
    root.required("score")?.number(-1.0, 10.0)?;
    root.required("checks")?.each(|check| {
        check.required("name")?.text()?;
        check.required("score")?.number(-1.0, 10.0)?;
        check.strings(&["reason"])
    })
}
