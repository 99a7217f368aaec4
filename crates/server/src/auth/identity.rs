//! The identity providers of a server.

use std::fmt;

use super::fetch::FetchError;
use super::jwt::{JwtSettings, JwtVerifier};
use super::oidc::{OidcSettings, SignIn};

/// The configured identity providers.
#[derive(Clone, Debug, Default)]
pub struct IdentitySettings {
    /// Those whose tokens are accepted, each with an issuer of its own.
    pub jwt: Vec<JwtSettings>,
    /// The one that people sign in at, if they can.
    pub oidc: Option<OidcSettings>,
}

/// The identity providers of a server, ready for use.
#[derive(Default)]
pub struct Identity {
    pub(super) jwt: JwtVerifier,
    pub(super) sign_in: Option<SignIn>,
}

impl Identity {
    /// Reads key files; calls nobody yet.
    ///
    /// # Errors
    /// [`FetchError`] when a key file cannot be used, or an address is not valid.
    pub fn new(settings: IdentitySettings) -> Result<Identity, FetchError> {
        let sign_in = settings.oidc.map(SignIn::new).transpose()?;
        Ok(Identity { jwt: JwtVerifier::new(settings.jwt)?, sign_in })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (issuers, signs_in) = (self.jwt.issuers(), self.sign_in.is_some());
        f.debug_struct("Identity").field("issuers", &issuers).field("signs_in", &signs_in).finish()
    }
}
