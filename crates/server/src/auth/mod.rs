//! Who is calling: API tokens, tokens of identity providers, sessions of people who signed in.
//!
//! [`Authenticator`] finds the caller of a request by its credentials. API tokens have their secrets ([`Secret`]), are
//! looked up in the store, and their uses are recorded. Tokens of identity providers are verified with the providers'
//! keys, and their claims are mapped by the operator's rules ([`ClaimMapping`]). People sign in at an OpenID Connect
//! provider by the routes of [`routes`](sign_in_routes), and have a cookie. How many wrong tokens an address may try is
//! bounded for all of them together.

mod authenticator;
mod claims;
mod fetch;
pub(crate) mod fuzzing;
mod identity;
mod jwks;
mod jwt;
mod lookup;
mod oidc;
mod once;
mod refusals;
mod routes;
mod secret;
mod session;
mod standing;
mod usage;

pub(crate) use authenticator::{Authenticated, Authenticator, bearer, is_from_own_page};
pub use claims::{ClaimMapping, NotGranted, Role};
pub use fetch::{FetchError, check_url};
pub use identity::{Identity, IdentitySettings};
pub use jwks::{KeySettings, KeySource};
pub use jwt::JwtSettings;
pub use oidc::OidcSettings;
pub use once::SignInLinks;
pub(crate) use routes::{end_session_of, is_local, sign_in_routes};
pub(crate) use secret::PREFIX;
pub use secret::Secret;
pub(crate) use session::{mask, unmask};
