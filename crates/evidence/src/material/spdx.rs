//! SPDX in JSON: the document of 2.2 and 2.3, and the JSON-LD graph of 3.0.

use super::error::MaterialError;
use super::kind::MaterialKind;
use super::node::Node;
use super::schema;
use regorus::Value;

type Checked = Result<(), MaterialError>;

/// Checks a document of either generation.
pub fn validate(value: &Value) -> Checked {
    let root = Node::root(MaterialKind::SbomSpdxJson, value);
    root.object()?;
    if root.field("@context").is_some() || root.field("@graph").is_some() { graph(&root) } else { document(&root) }?;
    schema::spdx(value)
}

/// The package that the document describes: name, purpose, version.
pub fn main_component(value: &Value) -> Option<(String, String, String)> {
    let text = |value: &Value| value.as_string().map(|text| text.to_string()).ok();
    let related = value["relationships"].as_array().ok().and_then(|relationships| {
        let described = relationships.iter().find(|relationship| {
            let between = |name: &str, wanted: &str| text(&relationship[name]).as_deref() == Some(wanted);
            between("spdxElementId", "SPDXRef-DOCUMENT") && between("relationshipType", "DESCRIBES")
        });
        text(&described?["relatedSpdxElement"])
    });
    let listed = || value["documentDescribes"].as_array().ok().and_then(|ids| text(ids.first()?));
    let id = related.or_else(listed)?;
    let package =
        value["packages"].as_array().ok()?.iter().find(|package| text(&package["SPDXID"]).as_ref() == Some(&id))?;
    let purpose = text(&package["primaryPackagePurpose"]).unwrap_or_default().to_lowercase();
    Some((text(&package["name"])?, purpose, text(&package["versionInfo"]).unwrap_or_default()))
}

fn document(root: &Node<'_>) -> Checked {
    root.required("spdxVersion")?.one_of(&["SPDX-2.2", "SPDX-2.3"])?;
    root.required("SPDXID")?.one_of(&["SPDXRef-DOCUMENT"])?;
    root.required("dataLicense")?.one_of(&["CC0-1.0"])?;
    root.required("name")?.text()?;
    root.required("documentNamespace")?.text()?;
    let creation = root.required("creationInfo")?;
    creation.required("created")?.timestamp()?;
    let creators = creation.required("creators")?;
    creators.each(|creator| {
        let known = ["Tool:", "Person:", "Organization:"];
        let text = creator.text()?;
        if known.iter().any(|prefix| text.starts_with(prefix)) {
            Ok(())
        } else {
            Err(creator.expected("Tool:, Person: or Organization: and a name"))
        }
    })?;
    if creators.is_empty() {
        return Err(creators.expected("at least one creator"));
    }
    root.each_in("packages", |package| {
        identifier(&package.required("SPDXID")?)?;
        package.required("name")?.text()?;
        package.required("downloadLocation")?.text().map(drop)
    })?;
    root.each_in("files", |file| {
        identifier(&file.required("SPDXID")?)?;
        file.required("fileName")?.text().map(drop)
    })?;
    root.each_in("relationships", |relationship| {
        relationship.required("spdxElementId")?.text()?;
        relationship.required("relatedSpdxElement")?.text()?;
        relationship.required("relationshipType")?.text().map(drop)
    })
}

fn identifier(node: &Node<'_>) -> Checked {
    let rest = node.string()?.strip_prefix("SPDXRef-").unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    if !rest.is_empty() && rest.bytes().all(allowed) {
        Ok(())
    } else {
        Err(node.expected("SPDXRef- and letters, digits, dots or hyphens"))
    }
}

fn graph(root: &Node<'_>) -> Checked {
    // The context is a URL, or a list that begins with the URL.
    let context = root.required("@context")?;
    let is_spdx = |text: &str| text.starts_with("https://spdx.org/rdf/3.0") && text.contains("context");
    let mut found = context.string().is_ok_and(is_spdx);
    if context.string().is_err() {
        context.each(|item| {
            found = found || item.string().is_ok_and(is_spdx);
            Ok(())
        })?;
    }
    if !found {
        return Err(context.expected("the context of SPDX 3.0, https://spdx.org/rdf/3.0…/spdx-context.jsonld"));
    }
    let graph = root.required("@graph")?;
    let mut documents = 0;
    graph.each(|element| {
        let kind = element.field("type").or_else(|| element.field("@type"));
        let Some(kind) = kind else {
            return element.required("type").map(drop);
        };
        match kind.text()? {
            "SpdxDocument" => documents += 1,
            "CreationInfo" => {
                let version = element.required("specVersion")?;
                if !version.string()?.starts_with("3.0") {
                    return Err(version.expected("3.0 or 3.0.x"));
                }
                element.required("created")?.timestamp()?;
            }
            _ => {}
        }
        element.strings(&["spdxId", "@id", "name"])
    })?;
    if documents == 1 { Ok(()) } else { Err(graph.expected("exactly one element of type SpdxDocument")) }
}
