//! Policies from the network, over real sockets: what is stored, and what is refused.

use evidence::digest;
use kinds::evaluation::{NotFetched, ReferenceSettings, References};

use crate::support::{Receiver, answer};

fn references(cache: &std::path::Path, allow_private_addresses: bool) -> References {
    let allowed_hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    References::new(ReferenceSettings { allowed_hosts, allow_private_addresses, cache: cache.to_owned() }).unwrap()
}

/// The result of a reference that gets this response, pinned to the digest of `content`.
async fn fetched(response: String, content: &str) -> (Result<(), NotFetched>, usize) {
    let cache = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(move |_| response.clone()).await;
    let reference = format!("http://{}/p.yaml@{}", receiver.address, digest(content.as_bytes()));
    let outcome = references(cache.path(), true).fetch(&reference).await;
    (outcome, std::fs::read_dir(cache.path()).unwrap().count())
}

#[tokio::test]
async fn what_has_the_pinned_digest_is_kept_under_it() {
    let cache = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_| answer("200 OK", "", "policy")).await;
    let pin = digest(b"policy");
    references(cache.path(), true).fetch(&format!("http://{}/p.yaml@{pin}", receiver.address)).await.unwrap();
    let kept = std::fs::read_to_string(cache.path().join(pin.trim_start_matches("sha256:"))).unwrap();
    assert_eq!(kept, "policy");
}

#[tokio::test]
async fn nothing_else_is_kept() {
    let large = "x".repeat(1024 * 1024 + 1);
    for (response, content, says, is_retryable) in [
        (answer("200 OK", "", "other"), "policy", "not the pinned one", false),
        (answer("200 OK", "", &large), large.as_str(), "is larger than 1048576 bytes", false),
        (answer("404 Not Found", "", "policy"), "policy", "the answer is 404 Not Found", false),
        (answer("503 Service Unavailable", "", "policy"), "policy", "the answer is 503", true),
        (answer("429 Too Many Requests", "", "policy"), "policy", "the answer is 429", true),
        (
            answer("302 Found", "Location: http://127.0.0.1/\r\n", "policy"),
            "policy",
            "redirects are not followed",
            false,
        ),
    ] {
        let (outcome, kept) = fetched(response, content).await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!((error.is_retryable, kept), (is_retryable, 0), "{error}");
    }
}

#[tokio::test]
async fn only_allowed_hosts_at_public_addresses_are_asked_and_only_encrypted() {
    let cache = tempfile::tempdir().unwrap();
    let pin = digest(b"policy");
    for (private, address, says) in [
        (true, "https://policies.example.com/p.yaml", "not among policies.allowed_hosts"),
        (false, "https://127.0.0.1/p.yaml", "private address"),
        (false, "https://localhost/p.yaml", "localhost is a private address"),
        (false, "http://localhost/p.yaml", "begins with https://"),
        (true, "https://user:word@localhost/p.yaml", "must not contain a user"),
        (true, "ftp://localhost/p.yaml", "must begin with https://"),
    ] {
        let error = references(cache.path(), private).fetch(&format!("{address}@{pin}")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{address}: {error}");
    }
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}
