//! References to container images: `registry/repository:tag@sha256:…`.

use super::error::MaterialError;
use super::kind::MaterialKind;
use crate::digest::is_digest;

/// A reference, split into its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Registry and repository, in full.
    pub name: String,
    /// `latest` when there is neither a tag nor a digest.
    pub tag: Option<String>,
    /// `sha256:` and hexadecimal digits.
    pub digest: Option<String>,
}

/// The registry that is used if none is named, and its namespace for names without one.
const DEFAULT_REGISTRY: &str = "index.docker.io";
const DEFAULT_PART: &str = "library";
/// The maximum length of a reference, in bytes.
const MAX: usize = 1024;

/// Reads a text that consists of one reference.
pub fn read(bytes: &[u8]) -> Result<Image, MaterialError> {
    let refuse = |expected: &str, found: &str| {
        MaterialError::mismatch(MaterialKind::ContainerImage, "the reference", expected, found)
    };
    if bytes.len() > MAX {
        return Err(refuse(&format!("at most {MAX} bytes"), &format!("{} bytes", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refuse("UTF-8", "other bytes"))?.trim();
    parse(text).ok_or_else(|| refuse("registry/repository:tag@sha256:<64 hex>", &format!("{text:?}")))
}

/// The full name of the repository of a reference, `index.docker.io/library/alpine` for `alpine`; `None` if it is not
/// a reference.
pub fn repository(text: &str) -> Option<String> {
    parse(text).map(|image| image.name)
}

fn parse(text: &str) -> Option<Image> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if !digest.is_none_or(is_digest) {
        return None;
    }
    // A colon before the last slash belongs to the registry's port.
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let in_tag = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !tag.is_none_or(|tag| (1..=128).contains(&tag.len()) && tag.bytes().all(in_tag) && !tag.starts_with(['.', '-']))
    {
        return None;
    }
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let (registry, repository) = match path.split_once('/') {
        Some((first, rest)) if is_registry(first) => (first, rest.to_owned()),
        Some(_) => (DEFAULT_REGISTRY, path.to_owned()),
        None => (DEFAULT_REGISTRY, format!("{DEFAULT_PART}/{path}")),
    };
    let registry = if registry == "docker.io" { DEFAULT_REGISTRY } else { registry };
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("{DEFAULT_PART}/{repository}")
    } else {
        repository
    };
    let in_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-');
    let plain = |part: &str| !part.is_empty() && part.bytes().all(in_part);
    let in_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    if !registry.bytes().all(in_host) || !repository.split('/').all(plain) {
        return None;
    }
    let tag = match (tag, digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    };
    Some(Image { name: format!("{registry}/{repository}"), tag, digest: digest.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let pinned = format!("ghcr.io/a/b:1.2@{digest}");
        for (text, name, tag, with) in [
            ("alpine", "index.docker.io/library/alpine", Some("latest"), None),
            ("docker.io/alpine:3", "index.docker.io/library/alpine", Some("3"), None),
            ("a/b:x", "index.docker.io/a/b", Some("x"), None),
            ("localhost:5000/a", "localhost:5000/a", Some("latest"), None),
            (&pinned, "ghcr.io/a/b", Some("1.2"), Some(digest.as_str())),
            (&format!("ghcr.io/a/b@{digest}\n"), "ghcr.io/a/b", None, Some(&digest)),
        ] {
            let image = read(text.as_bytes()).unwrap();
            assert_eq!(
                (image.name.as_str(), image.tag.as_deref(), image.digest.as_deref()),
                (name, tag, with),
                "{text}"
            );
        }
        for text in ["", "A/b", "a b", "a:", "a@sha256:12", "a/", "a:b:c", "ghcr.io//a", "a\n b"] {
            assert!(read(text.as_bytes()).unwrap_err().to_string().starts_with("not CONTAINER_IMAGE: "), "{text:?}");
        }
    }
}
