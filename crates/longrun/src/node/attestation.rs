//! The keys that sign results, from the configuration or from a file next to the store.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use attestation::Signer;
use store::StoreUrl;

use crate::config::Config;
use crate::exit::Hint as _;
use crate::private;

/// The keys of the configuration. If it names none, and one process has the store to itself, they are those of a file
/// next to the store, which is created if it does not exist.
///
/// Must be called by the holder of the store's lock.
///
/// # Errors
/// When the keys cannot be read or created.
pub fn signer(config: &Config, store: &StoreUrl) -> anyhow::Result<Option<Arc<Signer>>> {
    let configured = config.attestation.signer().map_err(|(key, message)| anyhow::anyhow!("{key}: {message}"))?;
    if let Some(signer) = configured {
        return Ok(Some(Arc::new(signer)));
    }
    // Servers that share a store but have different keys would surprise those who verify.
    let StoreUrl::Sqlite(store) = store else { return Ok(None) };
    let file = beside(store);
    if !file.exists() {
        let pem = Signer::generate_pem()?;
        private::write(&file, pem.as_bytes())
            .with_context(|| format!("cannot create the key that signs results, {}", file.display()))?;
    }
    let path = file.to_str().context("the path of the store is not Unicode")?;
    let signer = config.attestation.read(path).map_err(|why| anyhow::anyhow!("cannot use {path}: {why}"));
    let signer =
        signer.hint("it is the key that signs results of evaluations; use attestation.key_file to name another one")?;
    Ok(Some(Arc::new(signer)))
}

/// The key file of a store.
fn beside(store: &Path) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(".attestation-key");
    name.into()
}
