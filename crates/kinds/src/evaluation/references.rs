//! Policies from the network: fetched by the server, stored on disk under their digests, read by evaluation processes.
//!
//! What it promises: only hosts that the configuration allows are called, and only at public addresses unless it allows
//! others; the guard is the one that calls of kinds and notices pass. The content is bounded in size and time, and
//! nothing is stored whose digest differs from the one in the reference. Since a digest always stands for the same
//! content, stored content is never requested again, and all organizations share it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::fs;

use crate::webhook::{AllowedHosts, innermost, may_pass, read_bounded};
use evidence::digest;
use evidence::policy::PolicyCache;

/// The longest time that one fetch may take, from the connection to the last byte.
const TIME: Duration = Duration::from_secs(10);
/// The maximum size of a policy document or a script.
const MAX_BYTES: usize = 1024 * 1024;
/// The maximum number of files that are kept; beyond it, the ones that were written first are deleted.
const MAX_KEPT: usize = 4096;

/// Where policies may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceSettings {
    /// Hosts: `policies.example.com`, or `*.example.com` for all subdomains.
    pub allowed_hosts: Vec<String>,
    /// Whether addresses outside of the public internet may be called, and without encryption: the digest guarantees
    /// the content.
    pub allow_private_addresses: bool,
    /// The folder in which they are stored; created when it is needed.
    pub cache: PathBuf,
}

/// Fetches the policies that references name.
#[derive(Debug)]
pub struct References {
    hosts: AllowedHosts,
    cache: PolicyCache,
}

/// Why something cannot be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: {message}")]
pub struct NotFetched {
    reference: String,
    message: String,
    /// Whether another attempt may succeed.
    pub is_retryable: bool,
}

impl ReferenceSettings {
    /// What evaluations read, and where it may come from.
    pub fn policy_cache(&self) -> PolicyCache {
        PolicyCache {
            folder: self.cache.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            needs_encryption: !self.allow_private_addresses,
        }
    }
}

impl References {
    /// A fetcher with these settings; no call is made yet.
    ///
    /// # Errors
    /// A sentence, if this machine has no certificates to verify servers with.
    pub fn new(settings: ReferenceSettings) -> Result<References, String> {
        let cache = settings.policy_cache();
        let ReferenceSettings { allowed_hosts, allow_private_addresses, .. } = settings;
        let hosts = AllowedHosts::new("policies.allowed_hosts", allowed_hosts, allow_private_addresses)?;
        Ok(References { hosts, cache })
    }

    /// What evaluations read, and where it may come from.
    pub(super) fn cache(&self) -> &PolicyCache {
        &self.cache
    }

    /// Fetches and stores the content of a reference, whether it is stored already or not. A reference is an address,
    /// `@`, and `sha256:` with 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`NotFetched`], which names the reference and the reason.
    pub async fn fetch(&self, reference: &str) -> Result<(), NotFetched> {
        let failed =
            |message: String, is_retryable: bool| NotFetched { reference: reference.to_owned(), message, is_retryable };
        let (address, pin) =
            reference.rsplit_once('@').ok_or_else(|| failed("expected a pin: @sha256:…".to_owned(), false))?;
        let url = self.hosts.check(address).map_err(|message| failed(message, false))?;
        self.cache.check(address).map_err(|message| failed(message, false))?;
        let get = async {
            let sent = self.hosts.client.get(url.clone()).send().await;
            let mut response = sent.map_err(|error| (format!("could not be fetched: {}", innermost(&error)), true))?;
            let status = response.status();
            if !status.is_success() {
                let hint = if status.is_redirection() {
                    "; redirects are not followed, so give the final address"
                } else {
                    ""
                };
                return Err((format!("the answer is {status}{hint}"), may_pass(status)));
            }
            match read_bounded(&mut response, MAX_BYTES).await {
                Ok((body, true)) => Ok(body),
                Ok((_, false)) => Err((format!("is larger than {MAX_BYTES} bytes"), false)),
                Err(error) => Err((format!("could not be fetched: {}", error.message), true)),
            }
        };
        let in_time = tokio::time::timeout(TIME, get).await;
        let late = || (format!("could not be fetched within {} s", TIME.as_secs()), true);
        let body = in_time.unwrap_or_else(|_| Err(late())).map_err(|(message, again)| failed(message, again))?;
        let found = digest(&body);
        if found != pin {
            return Err(failed(format!("its digest is {found}, not the pinned one"), false));
        }
        self.keep(found.trim_start_matches("sha256:"), &body).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "could not store a fetched policy");
            failed("was fetched, but could not be stored".to_owned(), true)
        })
    }

    /// Writes the content to a temporary file and renames it, so that a reader never sees a part of it.
    async fn keep(&self, name: &str, body: &[u8]) -> io::Result<()> {
        let cache = &self.cache.folder;
        fs::create_dir_all(cache).await?;
        let aside = cache.join(format!(".{name}.{}", uuid::Uuid::new_v4()));
        let written = async {
            fs::write(&aside, body).await?;
            fs::rename(&aside, cache.join(name)).await
        };
        if let Err(error) = written.await {
            let _ = fs::remove_file(&aside).await;
            return Err(error);
        }
        let cache = cache.clone();
        tokio::task::spawn_blocking(move || forget(&cache, MAX_KEPT))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Deletes the files that were written first, once there are more than `most`: a quarter of them, so that this is not
/// done each time.
fn forget(cache: &Path, most: usize) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(cache)?.flatten() {
        // A file that another process has just deleted does not count.
        if let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) {
            kept.push((written, entry.path()));
        }
    }
    if kept.len() <= most {
        return Ok(());
    }
    kept.sort();
    for (_, path) in kept.iter().take(kept.len() - most + most / 4) {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_first_is_forgotten_once_there_is_too_much() {
        let cache = tempfile::tempdir().unwrap();
        for number in 0..9_u64 {
            let path = cache.path().join(number.to_string());
            std::fs::write(&path, "").unwrap();
            let file = std::fs::File::options().append(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number)).unwrap();
        }
        forget(cache.path(), 9).unwrap();
        assert!(cache.path().join("0").exists());
        forget(cache.path(), 8).unwrap();
        let left = (0..9).filter(|number| cache.path().join(number.to_string()).exists()).collect::<Vec<_>>();
        assert_eq!(left, [3, 4, 5, 6, 7, 8]);
    }
}
