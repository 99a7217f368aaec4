//! Resolves references: inside the policy folder, or in the cache of policies from the network.
//!
//! Nothing is fetched here. A network reference is pinned to a digest, under which the cache stores its content; what
//! is not in the cache yet is recorded ([`Resolver::take_missing`]), so that a caller may fetch it and try again.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use url::Url;

use super::ScriptText;
use super::document::MAX_BYTES;
use super::error::PolicyError;
use crate::digest::{digest, is_digest};
use crate::rego::{Compiled, Coverage};

/// A text to which a reference led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The reference as it was written, without its pin.
    pub reference: String,
    /// `sha256:` and the hexadecimal digest of the text.
    pub digest: String,
    /// The text.
    pub text: String,
    /// Its folder, for paths relative to it; `None` if it is not a file of the policy folder.
    pub folder: Option<PathBuf>,
    /// Whether it came from the network, so that its relative references lead to the network, too.
    pub is_remote: bool,
}

impl Loaded {
    /// A text that was included in the request.
    pub fn embedded(text: String) -> Loaded {
        Loaded {
            reference: "embedded".to_owned(),
            digest: digest(text.as_bytes()),
            text,
            folder: None,
            is_remote: false,
        }
    }
}

/// Resolves references, and caches compiled scripts. Nothing outside of its folder is ever read: neither through `..`
/// nor through symbolic links.
#[derive(Clone, Debug)]
pub struct Resolver {
    root: Option<PathBuf>,
    cache: Option<PolicyCache>,
    compiled: Compiled,
    /// References that are not in the cache.
    missing: Arc<Mutex<BTreeSet<String>>>,
}

/// Policies from the network, and where they may come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyCache {
    /// The folder in which the content is stored, each file under the hexadecimal digits of its digest; it may be
    /// created later.
    pub folder: PathBuf,
    /// Hosts: `policies.example.com`, or `*.example.com` for all subdomains.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses must begin with `https://`.
    pub needs_encryption: bool,
}

impl PolicyCache {
    /// For tests: what comes from `example.com` and `example.org`.
    #[cfg(test)]
    pub(crate) fn of_examples(folder: &Path) -> PolicyCache {
        let allowed_hosts = vec!["example.com".to_owned(), "example.org".to_owned()];
        PolicyCache { folder: folder.to_owned(), allowed_hosts, needs_encryption: true }
    }

    /// Fails, with a sentence, if content may not come from this address, even if it is stored: another address may
    /// have led to it, or the host may have been allowed in the past.
    pub fn check(&self, address: &str) -> Result<(), String> {
        let url = Url::parse(address).map_err(|error| format!("is not an address: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        if !self.allowed_hosts.iter().any(|allowed| is_host_allowed(host, allowed)) {
            return Err(format!("leads to {host}, which is not among policies.allowed_hosts"));
        }
        if self.needs_encryption && url.scheme() != "https" {
            return Err("expected an address that begins with https://".to_owned());
        }
        Ok(())
    }
}

/// Whether a host is the allowed one, or, if that is `*.example.com`, a subdomain of it.
pub fn is_host_allowed(host: &str, allowed: &str) -> bool {
    let host = host.trim_end_matches('.');
    match allowed.strip_prefix("*.") {
        Some(parent) => host
            .len()
            .checked_sub(parent.len() + 1)
            .is_some_and(|dot| host.as_bytes()[dot] == b'.' && host[dot + 1..].eq_ignore_ascii_case(parent)),
        None => host.eq_ignore_ascii_case(allowed),
    }
}

/// The maximum length of a network reference, in bytes.
const MAX_ADDRESS: usize = 2048;

impl Resolver {
    /// A resolver for a folder; without one every reference is refused.
    ///
    /// # Errors
    /// [`PolicyError::Reference`] when the folder does not exist.
    pub fn new(folder: Option<&Path>) -> Result<Resolver, PolicyError> {
        let root = folder.map(|folder| {
            fs::canonicalize(folder).map_err(|error| refuse(&folder.display().to_string(), &error.to_string()))
        });
        Ok(Resolver { root: root.transpose()?, cache: None, compiled: Compiled::default(), missing: Arc::default() })
    }

    /// The same, with content from the network.
    pub fn with_cache(mut self, cache: PolicyCache) -> Resolver {
        self.cache = Some(cache);
        self
    }

    /// The references that could not be resolved since the last call because they are not in the cache.
    pub fn take_missing(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.missing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same, with the runs of its scripts observed.
    pub fn covered(mut self, coverage: Coverage) -> Resolver {
        self.compiled = self.compiled.covered(coverage);
        self
    }

    /// The same, with scripts that may call `http.send`.
    pub fn calling(mut self) -> Resolver {
        self.compiled = self.compiled.calling();
        self
    }

    /// The compiled scripts of this resolver.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Whether a reference has a form that could be resolved; reads no file.
    pub fn check_form(reference: &str) -> Result<(), PolicyError> {
        Form::parse(reference).map(drop)
    }

    /// Reads the content of a reference.
    pub fn load(&self, reference: &str) -> Result<Loaded, PolicyError> {
        let form = Form::parse(reference)?;
        let candidates = match form.target {
            Target::Address(pin) => return self.cached(reference, form.bare, pin),
            Target::File(path) => vec![path.to_owned()],
            Target::Name(name) => {
                vec![
                    format!("{name}.yaml"),
                    format!("{name}.yml"),
                    format!("{name}.json"),
                    format!("{name}/policy.yaml"),
                ]
            }
        };
        let root = self.root.as_deref().ok_or_else(|| refuse(reference, "no policy folder is configured"))?;
        let found = candidates.iter().map(|file| root.join(file)).find(|path| path.exists());
        let found = found.ok_or_else(|| refuse(reference, "not in the policy folder"))?;
        let loaded = self.read(form.bare, &found)?;
        pinned(reference, form.pin, loaded)
    }

    /// Reads fetched content, if it still has the pinned digest.
    fn cached(&self, reference: &str, bare: &str, pin: &str) -> Result<Loaded, PolicyError> {
        let cache = self.cache.as_ref().ok_or_else(|| {
            refuse(reference, "no host is allowed for policies; put the policy into the policy folder")
        })?;
        cache.check(bare).map_err(|message| refuse(reference, &message))?;
        let bytes = fs::read(cache.folder.join(pin.trim_start_matches("sha256:"))).ok();
        let Some(bytes) = bytes.filter(|bytes| digest(bytes) == pin) else {
            self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(reference.to_owned());
            return Err(refuse(reference, "was not fetched"));
        };
        let text = text(reference, bytes)?;
        Ok(Loaded { reference: bare.to_owned(), digest: pin.to_owned(), text, folder: None, is_remote: true })
    }

    /// Reads a file that a document names by a relative path.
    pub fn load_beside(&self, document: &Loaded, path: &str) -> Result<Loaded, PolicyError> {
        if is_address(path) {
            return self.load(path);
        }
        if document.is_remote {
            return self.load(&beside(&document.reference, path)?);
        }
        let folder = document.folder.as_deref().ok_or_else(|| {
            refuse(path, "a path is allowed only in a policy that is a file; in an embedded policy, embed the script")
        })?;
        self.read(path, &folder.join(path.strip_prefix("file://").unwrap_or(path)))
    }

    /// Reads the script that a document refers to: next to the document, under exactly this name, unless the reference
    /// has a scheme; `@sha256:…` pins its content.
    pub fn load_script(&self, document: &Loaded, reference: &str) -> Result<Loaded, PolicyError> {
        let (bare, pin) = split_pin(reference)?;
        if document.is_remote && !bare.contains("://") {
            return self.load(&beside(&document.reference, reference)?);
        }
        if bare.contains("://") || document.folder.is_none() {
            return self.load(reference);
        }
        let loaded = self.load_beside(document, bare)?;
        pinned(reference, pin, loaded)
    }

    fn read(&self, reference: &str, path: &Path) -> Result<Loaded, PolicyError> {
        let root = self.root.as_deref().ok_or_else(|| refuse(reference, "no policy folder is configured"))?;
        let real = fs::canonicalize(path).map_err(|_| refuse(reference, "not in the policy folder"))?;
        if !real.starts_with(root) {
            // As for what does not exist: callers do not learn which files this machine has.
            return Err(refuse(reference, "not in the policy folder"));
        }
        let failed = |error: std::io::Error| refuse(reference, &error.to_string());
        let file = fs::File::open(&real).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(refuse(reference, "not a file"));
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_BYTES).expect("1 MiB") + 1;
        file.take(most).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > MAX_BYTES && !bytes.starts_with(WASM) {
            return Err(refuse(reference, &format!("larger than {MAX_BYTES} bytes")));
        }
        let digest = digest(&bytes);
        let text = text(reference, bytes)?;
        let folder = real.parent().map(Path::to_path_buf);
        Ok(Loaded { reference: reference.to_owned(), digest, text, folder, is_remote: false })
    }
}

/// The first bytes of a WebAssembly module; Chainloop also accepts such policies.
const WASM: &[u8] = b"\0asm";
/// The same in base64, as it is embedded.
const WASM_BASE64: &str = "AGFzb";

/// A script that the document itself contains.
pub(super) fn embedded(place: String, text: &str) -> Result<ScriptText, PolicyError> {
    if text.trim_start().starts_with(WASM_BASE64) {
        return Err(refuse(&place, NOT_REGO));
    }
    Ok(ScriptText { place, text: text.to_owned(), file_digest: None })
}

const NOT_REGO: &str = "is a WebAssembly module, but longrun evaluates only Rego: name the policy's Rego script";

/// The content as text.
fn text(reference: &str, bytes: Vec<u8>) -> Result<String, PolicyError> {
    if bytes.starts_with(WASM) {
        return Err(refuse(reference, NOT_REGO));
    }
    String::from_utf8(bytes).map_err(|_| refuse(reference, "not UTF-8"))
}

fn refuse(reference: &str, message: &str) -> PolicyError {
    PolicyError::Reference { reference: reference.to_owned(), message: message.to_owned() }
}

/// The reference without its pin, and the digest that the pin requires.
fn split_pin(reference: &str) -> Result<(&str, Option<&str>), PolicyError> {
    let Some(at) = reference.find("@sha256:") else { return Ok((reference, None)) };
    let (bare, pin) = (&reference[..at], &reference[at + 1..]);
    if !is_digest(pin) {
        return Err(refuse(reference, "a pin is @sha256: and 64 lower-case hexadecimal digits"));
    }
    Ok((bare, Some(pin)))
}

fn pinned(reference: &str, pin: Option<&str>, loaded: Loaded) -> Result<Loaded, PolicyError> {
    match pin {
        Some(pin) if pin != loaded.digest => {
            Err(refuse(reference, &format!("its digest is {}, not the pinned one", loaded.digest)))
        }
        _ => Ok(loaded),
    }
}

pub(super) fn is_address(reference: &str) -> bool {
    reference.starts_with("https://") || reference.starts_with("http://")
}

/// The address of a file that a document at another address names by a relative path: in its folder or below.
fn beside(document: &str, path: &str) -> Result<String, PolicyError> {
    let folder = document.rfind('/').map_or(document, |end| &document[..=end]);
    let path = path.strip_prefix("./").unwrap_or(path);
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.split('/').all(plain) || path.contains(['?', '#', '\\']) {
        return Err(refuse(path, "expected a path in the folder of the document, or a complete address"));
    }
    Ok(format!("{folder}{path}"))
}

struct Form<'a> {
    bare: &'a str,
    target: Target<'a>,
    pin: Option<&'a str>,
}

enum Target<'a> {
    File(&'a str),
    Name(&'a str),
    /// An address with a pin.
    Address(&'a str),
}

impl Form<'_> {
    fn parse(reference: &str) -> Result<Form<'_>, PolicyError> {
        let (bare, pin) = split_pin(reference)?;
        let target = match bare.split_once("://") {
            Some(("file", path)) if !path.is_empty() => Target::File(path),
            Some(("https" | "http", _)) if bare.len() > MAX_ADDRESS => {
                return Err(refuse(&bare[..bare.floor_char_boundary(64)], "the address is too long"));
            }
            Some(("https" | "http", _)) => match pin {
                Some(pin) => Target::Address(pin),
                None => {
                    let message = "a network reference needs a pin: @sha256: and the digest of its content";
                    return Err(refuse(reference, message));
                }
            },
            Some(_) => {
                let message = "expected file://…, https://…@sha256:… or the name of a policy in the policy folder";
                return Err(refuse(reference, message));
            }
            None => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                if bare.is_empty() || bare.starts_with('.') || !bare.bytes().all(plain) {
                    return Err(refuse(reference, "expected file://… or the name of a policy in the policy folder"));
                }
                Target::Name(bare)
            }
        };
        Ok(Form { bare, target, pin })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> (tempfile::TempDir, Resolver) {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("policies");
        fs::create_dir_all(root.join("nested")).unwrap();
        fs::write(outer.path().join("secret.yaml"), "secret").unwrap();
        fs::write(root.join("one.yaml"), "one").unwrap();
        fs::write(root.join("nested/policy.yaml"), "nested").unwrap();
        fs::write(root.join("nested/script.rego"), "script").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(outer.path().join("secret.yaml"), root.join("link.yaml")).unwrap();
        let resolver = Resolver::new(Some(&root)).unwrap();
        (outer, resolver)
    }

    fn refused(resolver: &Resolver, reference: &str) -> String {
        resolver.load(reference).unwrap_err().to_string()
    }

    #[test]
    fn names_and_files_resolve_with_their_digest() {
        let (_outer, resolver) = folder();
        for reference in ["one", "file://one.yaml", "file://nested/../one.yaml"] {
            let loaded = resolver.load(reference).unwrap();
            assert_eq!(loaded.text, "one");
            assert_eq!(loaded.digest, digest(b"one"));
            assert_eq!(loaded.reference, reference);
        }
        assert_eq!(resolver.load("nested").unwrap().text, "nested");
    }

    #[test]
    fn webassembly_is_refused_and_says_what_would_do() {
        let (outer, resolver) = folder();
        let nested = resolver.load("nested").unwrap();
        let module = [WASM, &vec![1; 2 * MAX_BYTES]].concat();
        fs::write(nested.folder.as_ref().unwrap().join("policy.wasm"), module).unwrap();
        let error = resolver.load_beside(&nested, "policy.wasm").unwrap_err().to_string();
        assert!(error.contains("WebAssembly") && error.contains("Rego script"), "{error}");
        drop(outer);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let (outer, resolver) = folder();
        let absolute = format!("file://{}", outer.path().join("secret.yaml").display());
        for reference in ["file://../secret.yaml", "link", "file://link.yaml", &absolute] {
            assert!(refused(&resolver, reference).ends_with("not in the policy folder"), "{reference}");
        }
        let nested = resolver.load("nested").unwrap();
        assert_eq!(resolver.load_beside(&nested, "script.rego").unwrap().text, "script");
        let error = resolver.load_beside(&nested, "../../secret.yaml").unwrap_err().to_string();
        assert!(error.ends_with("not in the policy folder"), "{error}");
    }

    #[test]
    fn a_pin_is_verified() {
        let (_outer, resolver) = folder();
        let pinned = format!("one@{}", digest(b"one"));
        assert_eq!(resolver.load(&pinned).unwrap().reference, "one");
        let other = format!("one@{}", digest(b"other"));
        assert!(refused(&resolver, &other).ends_with("not the pinned one"));
        assert!(refused(&resolver, "one@sha256:12").contains("64 lower-case"));
    }

    #[test]
    fn the_reference_of_a_script_is_relative_to_its_document_and_names_the_whole_file() {
        let (_outer, resolver) = folder();
        let nested = resolver.load("nested").unwrap();
        let text = |reference: &str| resolver.load_script(&nested, reference).map(|loaded| loaded.text);
        assert_eq!(text("script.rego").unwrap(), "script");
        assert_eq!(text("./script.rego").unwrap(), "script");
        assert_eq!(text("../one.yaml").unwrap(), "one");
        assert_eq!(text(&format!("script.rego@{}", digest(b"script"))).unwrap(), "script");
        let changed = text(&format!("script.rego@{}", digest(b"other"))).unwrap_err().to_string();
        assert!(changed.ends_with("not the pinned one"), "{changed}");
        assert!(text("script").is_err());
        assert!(text("../../secret.yaml").unwrap_err().to_string().ends_with("not in the policy folder"));
        assert_eq!(text("file://one.yaml").unwrap(), "one");
    }

    #[test]
    fn an_address_is_read_from_the_cache_by_its_digest_and_noted_down_when_it_is_not_there() {
        let cache = tempfile::tempdir().unwrap();
        let resolver = Resolver::new(None).unwrap().with_cache(crate::policy::PolicyCache::of_examples(cache.path()));
        let keep = |text: &str, content: &str| {
            let name = digest(text.as_bytes()).trim_start_matches("sha256:").to_owned();
            fs::write(cache.path().join(name), content).unwrap();
        };
        let address = format!("https://example.com/policies/p.yaml@{}", digest(b"policy"));
        assert!(refused(&resolver, &address).ends_with("was not fetched"));
        assert_eq!(resolver.take_missing(), BTreeSet::from([address.clone()]));
        assert_eq!(resolver.take_missing(), BTreeSet::new());
        // A file that was changed on disk counts as missing.
        keep("policy", "another one");
        assert!(refused(&resolver, &address).ends_with("was not fetched"));
        keep("policy", "policy");
        let policy = resolver.load(&address).unwrap();
        assert_eq!((policy.text.as_str(), policy.digest.as_str()), ("policy", digest(b"policy").as_str()));
        assert_eq!(policy.reference, "https://example.com/policies/p.yaml");

        keep("script", "script");
        let pin = digest(b"script");
        let script = resolver.load_script(&policy, &format!("rules/script.rego@{pin}")).unwrap();
        assert_eq!(
            (script.reference.as_str(), script.text.as_str()),
            ("https://example.com/policies/rules/script.rego", "script")
        );
        assert_eq!(resolver.load_beside(&policy, &format!("https://example.org/s.rego@{pin}")).unwrap().text, "script");
        for (path, says) in
            [("script.rego", "needs a pin"), (&format!("../s.rego@{pin}"), "expected a path in the folder")]
        {
            let error = resolver.load_script(&policy, path).unwrap_err().to_string();
            assert!(error.contains(says), "{path}: {error}");
        }
        resolver.take_missing();
        // Content that is stored may still only come from the hosts that are allowed now.
        let pin = digest(b"policy");
        for (address, says) in [
            ("https://evil.example/p.yaml", "leads to evil.example, which is not among policies.allowed_hosts"),
            ("http://example.com/p.yaml", "expected an address that begins with https://"),
            ("https://example.com.evil.example/p.yaml", "leads to example.com.evil.example"),
            ("https://example.com@evil.example/p.yaml", "leads to evil.example"),
        ] {
            let error = refused(&resolver, &format!("{address}@{pin}"));
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(resolver.take_missing(), BTreeSet::new(), "they are not fetched either");
        let none = Resolver::new(None).unwrap();
        assert!(refused(&none, &address).contains("no host is allowed"));
        assert!(none.take_missing().is_empty());
    }

    #[test]
    fn other_forms_are_refused() {
        let (_outer, resolver) = folder();
        assert!(refused(&resolver, "https://example.com/p.yaml").contains("needs a pin"));
        for reference in ["", "..", "a/b", "ftp://x", "file://", ".hidden", "a b"] {
            assert!(refused(&resolver, reference).contains("expected file://"), "{reference}");
        }
        assert!(refused(&resolver, "absent").ends_with("not in the policy folder"));
        assert!(refused(&resolver, "file://nested").ends_with("not a file"));
        let none = Resolver::new(None).unwrap();
        assert!(refused(&none, "one").ends_with("no policy folder is configured"));
    }
}
