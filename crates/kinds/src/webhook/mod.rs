//! Signed calls to servers of others, as [Standard Webhooks](https://www.standardwebhooks.com) describes them.
//!
//! What it promises: a call reaches only a host that the configuration allows, and, unless told otherwise, only an
//! address of the public internet: names are looked up here, what is not public is dropped, and the connection goes to
//! an address that was looked at. Redirects are not followed and proxies not used, since either would lead elsewhere.
//! What is read of an answer is bounded. What is fetched from servers of others, such as policies, passes the same guard.

mod address;
mod answer;
mod endpoint;
mod signature;

pub(crate) use answer::{body as read_bounded, may_pass, read as read_answer};
pub(crate) use endpoint::{AllowedHosts, unreached};
pub use endpoint::{Endpoint, EndpointSettings, InvalidEndpoint, innermost, install_crypto_provider};
pub use signature::{InvalidSecret, Secrets};
