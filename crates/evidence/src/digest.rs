//! The digest that identifies content, policies and scripts.

use sha2::{Digest, Sha256};

/// The digest of bytes, in the form `sha256:<64 hex>`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
