//! Callers without an API token: tokens of identity providers, and people who signed in.

mod both;
mod browser;
mod callback;
mod false_provider;
pub mod forged;
mod keys;
mod managed_sessions;
pub mod provider;
mod sessions;
mod sign_in;
pub mod signer;
mod tokens;
