//! Callers who have no API token: tokens of identity providers, and people who signed in.

mod browser;
mod callback;
mod false_provider;
mod forged;
mod keys;
mod provider;
mod sessions;
mod sign_in;
mod signer;
mod tokens;
