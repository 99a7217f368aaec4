//! CSAF (OASIS), 2.0 and 2.1: the requirements of the standard for every document, and for the category that it claims;
//! then the schema of 2.0.

use regorus::Value;

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use super::schema;

type Checked = Result<(), MaterialError>;

const NOTES: &[&str] = &["description", "details", "faq", "general", "legal_disclaimer", "other", "summary"];
const PUBLISHERS: &[&str] = &["coordinator", "discoverer", "multiplier", "other", "translator", "user", "vendor"];

/// The category that a kind requires.
pub fn category(kind: MaterialKind) -> &'static str {
    match kind {
        MaterialKind::CsafVex => "csaf_vex",
        MaterialKind::CsafInformationalAdvisory => "csaf_informational_advisory",
        MaterialKind::CsafSecurityAdvisory => "csaf_security_advisory",
        _ => "csaf_security_incident_response",
    }
}

/// Checks a document.
pub fn validate(kind: MaterialKind, value: &Value) -> Checked {
    let root = Node::root(kind, value);
    let document = root.required("document")?;
    document.required("category")?.one_of(&[category(kind)])?;
    document.required("csaf_version")?.one_of(&["2.0", "2.1"])?;
    document.required("title")?.text()?;
    let publisher = document.required("publisher")?;
    publisher.required("category")?.one_of(PUBLISHERS)?;
    publisher.required("name")?.text()?;
    publisher.required("namespace")?.text()?;
    let tracking = document.required("tracking")?;
    for name in ["id", "version"] {
        tracking.required(name)?.text()?;
    }
    for name in ["current_release_date", "initial_release_date"] {
        tracking.required(name)?.timestamp()?;
    }
    tracking.required("status")?.one_of(&["draft", "final", "interim"])?;
    tracking.required("revision_history")?.each(|revision| {
        revision.required("date")?.timestamp()?;
        revision.required("number")?.text()?;
        revision.required("summary")?.text().map(drop)
    })?;
    document.each_in("notes", note)?;
    root.optional("product_tree", |tree| tree.object())?;
    root.each_in("vulnerabilities", vulnerability)?;
    of_category(kind, &root, &document)?;
    schema::csaf(kind, value)
}

fn note(node: &Node<'_>) -> Checked {
    node.required("category")?.one_of(NOTES)?;
    node.required("text")?.text().map(drop)
}

fn vulnerability(node: &Node<'_>) -> Checked {
    node.object()?;
    node.strings(&["cve", "title"])?;
    node.each_in("notes", note)?;
    // Policies and waivers take products that are no list for none.
    node.optional("product_status", |status| {
        status.each_field(|products| products.each(|product| product.text().map(drop)))
    })?;
    node.each_in("remediations", |remediation| {
        remediation.required("category")?.text()?;
        remediation.required("details")?.text().map(drop)
    })
}

/// The requirements of the profiles in section 4 of the standard.
fn of_category(kind: MaterialKind, root: &Node<'_>, document: &Node<'_>) -> Checked {
    match kind {
        MaterialKind::CsafVex => {
            root.required("product_tree")?.object()?;
            root.required("vulnerabilities")?.each(|vulnerability| {
                vulnerability.required("product_status")?.object()?;
                if vulnerability.field("cve").is_none() && vulnerability.field("ids").is_none() {
                    return Err(vulnerability.expected("a vulnerability with cve or ids"));
                }
                vulnerability.required("notes").map(drop)
            })
        }
        MaterialKind::CsafSecurityAdvisory => {
            root.required("product_tree")?.object()?;
            root.required("vulnerabilities")?.each(|vulnerability| {
                vulnerability.required("product_status")?.object()?;
                vulnerability.required("notes").map(drop)
            })
        }
        _ => {
            let notes = document.required("notes")?;
            if notes.is_empty() {
                return Err(notes.expected("at least one note"));
            }
            document.required("references")?.each(|reference| {
                reference.required("summary")?.text()?;
                reference.required("url")?.text().map(drop)
            })
        }
    }
}
