//! Signed calls to external servers, as [Standard Webhooks](https://www.standardwebhooks.com) describes them.
//!
//! What it promises: a call reaches only a host that the configuration allows, and, by default, only an address of the
//! public internet: names are resolved here, addresses that are not public are dropped, and the connection goes to an
//! address that was checked. Redirects are not followed and proxies are not used, since either would lead elsewhere.
//! Only a bounded part of an answer is read. Files fetched from external servers, such as policies, pass the same
//! guard.

mod address;
mod answer;
mod endpoint;
mod signature;

pub(crate) use answer::{body as read_bounded, may_pass, read as read_answer};
pub(crate) use endpoint::{AllowedHosts, unreached};
pub use endpoint::{Endpoint, EndpointSettings, InvalidEndpoint, innermost, install_crypto_provider};
pub use signature::{InvalidSecret, Secrets};
