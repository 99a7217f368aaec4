//! TLS for the listener: a certificate chain and a key, HTTP/2 and HTTP/1.1 by ALPN.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A listener's certificate and key.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
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

impl Tls {
    /// Reads a certificate chain, the server's own first, and its private key.
    ///
    /// # Errors
    /// [`TlsError`]; the caller knows the names of the files.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Tls, TlsError> {
        let in_certificates = |source| TlsError::Pem { what: "certificate chain", source };
        let chain = CertificateDer::pem_file_iter(certificates)
            .map_err(in_certificates)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(in_certificates)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem { what: "private key", source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}
