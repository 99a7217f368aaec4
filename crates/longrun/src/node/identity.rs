//! The identity providers that the configuration names, and the secrets for them.

use anyhow::Context;
use secrecy::{SecretSlice, SecretString};
use server::auth::{Identity, IdentitySettings, OidcSettings};

use super::endpoint::{file, variable};
use crate::config::{Auth, Oidc};

/// The providers, ready for use; none is called yet.
///
/// # Errors
/// When a secret or a file with keys cannot be read.
pub fn identity(auth: &Auth) -> anyhow::Result<Identity> {
    let jwt = auth.jwt.iter().map(|(name, provider)| provider.settings(name)).collect();
    let oidc = auth.oidc.as_ref().map(settings).transpose()?;
    Identity::new(IdentitySettings { jwt, oidc }).context("cannot use an identity provider of the section auth")
}

fn settings(Oidc { client, claims }: &Oidc) -> anyhow::Result<OidcSettings> {
    let client_secret = match (client.client_secret_environment.as_str(), client.client_secret_file.as_str()) {
        ("", "") => None,
        ("", name) => Some(SecretString::from(file("auth.oidc.client_secret_file", name)?.trim())),
        (name, _) => Some(SecretString::from(variable("auth.oidc.client_secret_environment", name)?)),
    };
    let session_key = match client.session_key_file.as_str() {
        "" => None,
        name => Some(SecretSlice::from(file("auth.oidc.session_key_file", name)?.trim().as_bytes().to_vec())),
    };
    Ok(OidcSettings {
        issuer: client.issuer.clone(),
        client_id: client.client_id.clone(),
        client_secret,
        public_url: client.public_url.clone(),
        request_scopes: client.request_scopes.clone(),
        allow_http: client.allow_http,
        session_time: client.session_lifetime.0,
        session_key,
        claims: claims.mapping(),
    })
}
