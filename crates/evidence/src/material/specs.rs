//! Descriptions of interfaces: OpenAPI and AsyncAPI, in JSON or YAML.

use regorus::Value;

use super::error::MaterialError;
use super::json;
use super::kind::MaterialKind;
use super::node::Node;
use crate::yaml;

type Checked = Result<(), MaterialError>;

/// The maximum size of a YAML document, in bytes: its reader needs some dozens of times as much memory.
const MAX_YAML: usize = 8 * 1024 * 1024;

/// Reads JSON, or YAML if the bytes do not begin as JSON.
pub fn read(bytes: &[u8]) -> Result<Value, MaterialError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return json::read_evidence(bytes);
    }
    yaml(bytes)
}

/// Reads YAML.
pub fn yaml(bytes: &[u8]) -> Result<Value, MaterialError> {
    if bytes.len() > MAX_YAML {
        return Err(MaterialError::Yaml(format!("larger than {MAX_YAML} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| MaterialError::Yaml("bytes that are not UTF-8".to_owned()))?;
    let value: serde_json::Value = yaml::read(text).map_err(|error| MaterialError::Yaml(error.to_string()))?;
    Ok(Value::from(value))
}

fn info(root: &Node<'_>) -> Checked {
    let info = root.required("info")?;
    info.required("title")?.string()?;
    info.required("version")?.string()?;
    info.strings(&["description", "summary", "termsOfService"])
}

/// OpenAPI 3.0, 3.1 or 3.2.
pub fn openapi(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::OpenapiSpec, value);
    let version = root.required("openapi")?;
    let is_31 = match version.string()? {
        text if text.starts_with("3.0.") => false,
        text if text.starts_with("3.1.") || text.starts_with("3.2.") => true,
        _ => return Err(version.expected("3.0.x, 3.1.x or 3.2.x")),
    };
    info(&root)?;
    root.optional("components", |components| components.object())?;
    root.each_in("servers", |server| server.required("url")?.string().map(drop))?;
    root.each_in("security", |requirement| requirement.object())?;
    if !is_31 {
        root.required("paths")?;
    } else if ["paths", "components", "webhooks"].iter().all(|name| root.field(name).is_none()) {
        return Err(root.expected("an object with paths, components or webhooks"));
    }
    root.optional("paths", |paths| {
        paths.each_named(|path, item| {
            if !path.starts_with('/') && !path.starts_with("x-") {
                return Err(item.expected("a path that begins with /"));
            }
            if path.starts_with("x-") { Ok(()) } else { self::path(item, is_31) }
        })
    })
}

fn path(item: &Node<'_>, is_31: bool) -> Checked {
    item.object()?;
    for method in ["get", "put", "post", "delete", "options", "head", "patch", "trace"] {
        item.optional(method, |operation| {
            operation.object()?;
            operation.strings(&["summary", "description", "operationId"])?;
            operation.each_in("security", |requirement| requirement.object())?;
            if is_31 {
                operation.optional("responses", |responses| responses.object())
            } else {
                operation.required("responses")?.object()
            }
        })?;
    }
    item.each_in("parameters", |parameter| parameter.object())
}

/// AsyncAPI 2 or 3.
pub fn asyncapi(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::AsyncapiSpec, value);
    let version = root.required("asyncapi")?;
    let is_2 = match version.string()? {
        text if text.starts_with("2.") => true,
        text if text.starts_with("3.") => false,
        _ => return Err(version.expected("2.x.y or 3.x.y")),
    };
    info(&root)?;
    if is_2 {
        root.required("channels")?.each_field(|channel| channel.object())?;
    } else {
        root.optional("channels", |channels| channels.each_field(|channel| channel.object()))?;
        root.optional("operations", |operations| {
            operations.each_field(|operation| {
                if operation.field("$ref").is_some() {
                    return Ok(());
                }
                operation.required("action")?.one_of(&["send", "receive"])?;
                operation.required("channel")?.object()
            })
        })?;
    }
    root.optional("servers", |servers| servers.each_field(|server| server.object()))?;
    root.optional("components", |components| components.object())
}
