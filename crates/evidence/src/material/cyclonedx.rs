//! CycloneDX in JSON, 1.2 to 1.7: the members that policies rely on, wherever they occur, and then the standard's
//! schema.

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use super::schema;
use regorus::Value;

type Checked = Result<(), MaterialError>;

const VERSIONS: &[&str] = &["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"];
const COMPONENT_TYPES: &[&str] = &[
    "application",
    "framework",
    "library",
    "container",
    "platform",
    "operating-system",
    "device",
    "device-driver",
    "firmware",
    "file",
    "machine-learning-model",
    "data",
    "cryptographic-asset",
];
const SCOPES: &[&str] = &["required", "optional", "excluded"];

/// Checks a document.
pub fn validate(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::SbomCyclonedxJson, value);
    root.object()?;
    root.required("bomFormat")?.one_of(&["CycloneDX"])?;
    root.required("specVersion")?.one_of(VERSIONS)?;
    root.optional("serialNumber", serial_number)?;
    root.optional("version", |version| version.integer(1).map(drop))?;
    root.optional("metadata", metadata)?;
    root.each_in("components", component)?;
    root.each_in("services", |service| service.required("name")?.text().map(drop))?;
    root.each_in("dependencies", |dependency| {
        dependency.required("ref")?.text()?;
        dependency.each_in("dependsOn", |reference| reference.text().map(drop))
    })?;
    root.each_in("externalReferences", external_reference)?;
    root.each_in("compositions", |composition| composition.required("aggregate")?.text().map(drop))?;
    root.each_in("vulnerabilities", vulnerability)?;
    schema::cyclonedx(value)
}

/// The component that the document describes: name, type, version.
pub fn main_component(value: &Value) -> Option<(String, String, String)> {
    let component = &value["metadata"]["component"];
    let text = |name: &str| component[name].as_string().map(|text| text.to_string());
    Some((text("name").ok()?, text("type").unwrap_or_default(), text("version").unwrap_or_default()))
}

fn serial_number(node: &Node<'_>) -> Checked {
    let id = node.string()?.strip_prefix("urn:uuid:").unwrap_or_default();
    let well_formed = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if well_formed { Ok(()) } else { Err(node.expected("urn:uuid: and a UUID")) }
}

fn metadata(node: &Node<'_>) -> Checked {
    node.object()?;
    node.optional("timestamp", |node| node.timestamp())?;
    node.optional("component", component)?;
    node.each_in("authors", |node| node.object())?;
    node.each_in("licenses", license)?;
    // Up to 1.4 a list of tools; since 1.5 alternatively an object with components and services.
    node.optional("tools", |tools| {
        if tools.object().is_ok() {
            return tools.each_in("components", component);
        }
        tools.each(|tool| {
            tool.object()?;
            tool.strings(&["name", "vendor", "version"])
        })
    })
}

fn component(node: &Node<'_>) -> Checked {
    node.object()?;
    node.required("type")?.one_of(COMPONENT_TYPES)?;
    node.required("name")?.string()?;
    node.strings(&["version", "group", "purl", "cpe", "bom-ref", "author", "publisher", "description", "copyright"])?;
    node.optional("scope", |scope| scope.one_of(SCOPES).map(drop))?;
    node.optional("purl", |purl| {
        if purl.string()?.starts_with("pkg:") { Ok(()) } else { Err(purl.expected("a package URL, pkg:…")) }
    })?;
    node.each_in("hashes", |hash| {
        hash.required("alg")?.text()?;
        hash.required("content")?.text().map(drop)
    })?;
    node.each_in("licenses", license)?;
    node.each_in("externalReferences", external_reference)?;
    node.each_in("properties", |node| node.object())?;
    // The JSON reader limits the depth.
    node.each_in("components", component)
}

fn license(node: &Node<'_>) -> Checked {
    node.object()?;
    match (node.field("license"), node.field("expression")) {
        (Some(license), None) => match (license.field("id"), license.field("name")) {
            (Some(id), None) => id.text().map(drop),
            (None, Some(name)) => name.string().map(drop),
            _ => Err(license.expected("an object with either id or name")),
        },
        (None, Some(expression)) => expression.text().map(drop),
        _ => Err(node.expected("an object with either license or expression")),
    }
}

fn external_reference(node: &Node<'_>) -> Checked {
    node.required("url")?.string()?;
    node.required("type")?.text().map(drop)
}

fn vulnerability(node: &Node<'_>) -> Checked {
    node.object()?;
    node.strings(&["id", "description", "detail", "recommendation"])?;
    node.each_in("ratings", |node| node.object())?;
    node.each_in("affects", |affected| affected.required("ref")?.text().map(drop))
}
