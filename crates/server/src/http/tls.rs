//! TLS for the listeners: a certificate chain and a key, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! The files are read again when they have changed ([`Tls::renew`]). Files that cannot be used change nothing: the pair
//! in use remains in use. Later handshakes get the new certificate, even those of clients that could have resumed an
//! older session; open connections continue.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A listener's certificate and key. Clones are the same, so that all are renewed together.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificates: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
    /// The state of the files when they were last read, whether they could be used or not.
    seen: Mutex<Stamps>,
}

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("the {what} cannot be read as PEM: {source}")]
    Pem {
        /// Which of the two.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("the certificate and the key cannot be used together: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Shows whether a file was replaced or written to; `None` when it does not exist.
type Stamp = Option<(u64, u64, u64, i64, i64, i64, i64)>;
type Stamps = (Stamp, Stamp);

/// Follows symbolic links, which some use to change both files at once.
fn stamp(file: &Path) -> Stamp {
    let found: io::Result<fs::Metadata> = fs::metadata(file);
    found.ok().map(|f| (f.dev(), f.ino(), f.size(), f.mtime(), f.mtime_nsec(), f.ctime(), f.ctime_nsec()))
}

impl Tls {
    /// Reads a certificate chain, the server's own first, and its private key.
    ///
    /// # Errors
    /// [`TlsError`]; the caller knows the names of the files.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Tls, TlsError> {
        // Before the files are read: a change in the meantime is noticed later.
        let seen = (stamp(certificates), stamp(key));
        let current = read(certificates, key)?;
        Ok(Tls(Arc::new(Inner {
            certificates: certificates.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(seen),
        })))
    }

    /// Reads the files again, if they have changed since they were last read or `anyway`; returns whether there is a
    /// new pair. Blocks on the disk.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be used, once for each change; what was in use remains in use.
    pub fn renew(&self, anyway: bool) -> Result<bool, TlsError> {
        let inner = &*self.0;
        let mut seen = inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = (stamp(&inner.certificates), stamp(&inner.key));
        if *seen == found && !anyway {
            return Ok(false);
        }
        *seen = found;
        let renewed = read(&inner.certificates, &inner.key)?;
        *inner.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed);
        Ok(true)
    }

    /// The acceptor for the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn read(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let in_certificates = |source| TlsError::Pem { what: "certificate chain", source };
    let chain = CertificateDer::pem_file_iter(certificates)
        .map_err(in_certificates)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(in_certificates)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem { what: "private key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Refuses a key that does not belong to the certificate. Each configuration has a session cache of its own.
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
