//! Sign-in of people at an OpenID Connect provider: the authorization code flow with PKCE, state and nonce.
//!
//! The state of a sign-in under way is in a sealed cookie of the browser that began it, for ten minutes; so it can end
//! at any server of the store, and only in that browser. The provider's discovery document and keys are fetched when
//! they are needed and kept for a while.

use std::sync::{PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreJwsSigningAlgorithm,
    CoreProviderMetadata,
};
use openidconnect::url::Url;
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use operations::{Timestamp, check_text};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::claims::ClaimMapping;
use super::fetch::{FetchError, Fetcher, Fetches, check_url};
use super::jwt::millis;
use super::session::{Cookies, Purpose, Sealer, Session, random_text};
use crate::error::SignInError;

/// How long a person may take to sign in at the provider.
pub(super) const LOGIN_TIME: Duration = Duration::from_secs(600);
/// How long the provider's discovery document and keys are kept.
const METADATA_TIME: Duration = Duration::from_secs(600);
/// The shortest time between two fetches of them.
const METADATA_PAUSE: Duration = Duration::from_secs(5);
/// How far the provider's clock may be from the store's.
const LEEWAY: Duration = Duration::from_secs(60);
/// The most codes that are exchanged at a time; further sign-ins wait.
const EXCHANGES: usize = 16;
/// The path that the provider sends browsers back to.
pub(super) const CALLBACK: &str = "/auth/callback";

/// The provider that people sign in at, and the settings of sessions.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// The address of the provider; its discovery document is below it, at `/.well-known/openid-configuration`.
    pub issuer: String,
    /// This server as the provider knows it.
    pub client_id: String,
    /// The client secret that the provider issued; none for a public client.
    pub client_secret: Option<SecretString>,
    /// Where browsers reach this server, without a path: `https://longrun.example.com`.
    pub public_url: String,
    /// The scopes that are requested from the provider, including `openid`.
    pub request_scopes: Vec<String>,
    /// Whether the provider may be called by `http://`.
    pub allow_http: bool,
    /// How long a session lasts.
    pub session_time: Duration,
    /// The key that cookies are sealed with; `None`: a key of the store.
    pub session_key: Option<SecretSlice<u8>>,
    /// What claims mean.
    pub claims: ClaimMapping,
}

/// Signs people in.
pub(crate) struct SignIn {
    settings: OidcSettings,
    pub(super) cookies: Cookies,
    /// As browsers send it in the header `Origin`.
    origin: String,
    fetcher: Fetcher,
    /// The provider's description of itself, and when it was fetched.
    metadata: RwLock<Option<(CoreProviderMetadata, Instant)>>,
    fetches: Fetches,
    exchanges: Semaphore,
}

/// A sign-in under way, as its cookie holds it.
#[derive(Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) state: String,
    nonce: String,
    verifier: String,
    pub(super) return_to: String,
    expires_at: i64,
}

/// The parameters with which a provider sends a browser back.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Returned {
    pub(super) code: Option<String>,
    pub(super) state: Option<String>,
    pub(super) iss: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
}

impl SignIn {
    /// Nothing is called yet.
    ///
    /// # Errors
    /// When an address is not valid.
    pub(crate) fn new(settings: OidcSettings) -> Result<SignIn, FetchError> {
        let address =
            |text: &String, allow_http| check_url(text, allow_http).map_err(|_| FetchError::Address(text.clone()));
        let issuer = address(&settings.issuer, settings.allow_http)?;
        // Whether browsers connect over TLS is the operator's choice; the cookies follow it.
        let public = address(&settings.public_url, true)?;
        Ok(SignIn {
            cookies: Cookies { secure: public.scheme() == "https" },
            origin: public.origin().ascii_serialization(),
            fetcher: Fetcher::new(settings.allow_http, issuer.scheme() == "https")?,
            metadata: RwLock::default(),
            fetches: Fetches::default(),
            exchanges: Semaphore::new(EXCHANGES),
            settings,
        })
    }

    /// The key that the operator gave, if any.
    pub(super) fn session_key(&self) -> Option<&SecretSlice<u8>> {
        self.settings.session_key.as_ref()
    }

    /// What cookies are bound to: with another provider, client or mapping, people sign in again.
    pub(super) fn context(&self) -> Vec<u8> {
        let OidcSettings { issuer, client_id, public_url, claims, .. } = &self.settings;
        format!("{issuer}\0{client_id}\0{public_url}\0{claims:?}").into_bytes()
    }

    /// Whether a request comes from a page of this server.
    pub(super) fn is_own_origin(&self, origin: &str) -> bool {
        origin == self.origin
    }

    /// Starts a sign-in: returns where the browser should go, and the content of its cookie.
    pub(super) async fn begin(&self, return_to: String, now: Timestamp) -> Result<(Url, Login), SignInError> {
        let metadata = self.metadata(false).await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let client = self.client(metadata)?;
        let mut request = client.authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || CsrfToken::new(random_text()),
            || Nonce::new(random_text()),
        );
        // The library adds `openid` itself.
        for scope in self.settings.request_scopes.iter().filter(|scope| *scope != "openid") {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let login = Login {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            return_to,
            expires_at: now.after(LOGIN_TIME).as_millis(),
        };
        Ok((url, login))
    }

    /// Completes a sign-in: returns the session of the person who came back.
    pub(super) async fn end(&self, login: &Login, returned: &Returned, now: Timestamp) -> Result<Session, SignInError> {
        if now.as_millis() >= login.expires_at {
            return Err(SignInError::Stale);
        }
        // RFC 9207: a code of another provider must not be sent to this one.
        if returned.iss.as_ref().is_some_and(|issuer| *issuer != self.settings.issuer) {
            return Err(SignInError::Stale);
        }
        if let Some(error) = &returned.error {
            return Err(SignInError::Refused { error: shown(error), why: shown_option(&returned.error_description) });
        }
        let code = returned.code.clone().ok_or(SignInError::Stale)?;
        let id_token = self.exchange(login, code).await?;
        let claims = self.verified(&id_token, login, now).await?;
        self.session(&claims, now)
    }

    /// The ID token that a code is exchanged for.
    async fn exchange(&self, login: &Login, code: String) -> Result<CoreIdToken, SignInError> {
        let _place = self.exchanges.acquire().await.map_err(|_| SignInError::Stale)?;
        let metadata = self.metadata(false).await?;
        let client = self.client(metadata)?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| provider(format!("its discovery document has no token endpoint: {error}")))?
            .set_pkce_verifier(PkceCodeVerifier::new(login.verifier.clone()));
        let answer = exchange.request_async(&self.fetcher).await.map_err(|error| match error {
            // The code was used before or was never valid: signing in again helps.
            openidconnect::RequestTokenError::ServerResponse(answer)
                if *answer.error() == openidconnect::core::CoreErrorResponseType::InvalidGrant =>
            {
                SignInError::Stale
            }
            other => provider(format!("could not exchange the code: {}", crate::error::chain(&other))),
        })?;
        answer.id_token().cloned().ok_or_else(|| provider("it returned no ID token".to_owned()))
    }

    /// The claims of an ID token that is the provider's answer to this sign-in.
    async fn verified(
        &self,
        id_token: &CoreIdToken,
        login: &Login,
        now: Timestamp,
    ) -> Result<Map<String, Value>, SignInError> {
        let nonce = Nonce::new(login.nonce.clone());
        let mut verified = self.verify(id_token, &nonce, now, false).await?;
        // It may have changed its keys since they were fetched, even one that has the same id.
        if let Err(ClaimsVerificationError::SignatureVerification(_)) = verified {
            verified = self.verify(id_token, &nonce, now, true).await?;
        }
        verified.map_err(|error| provider(format!("its ID token is not valid: {}", crate::error::chain(&error))))?;
        let text = id_token.to_string();
        let payload = text.split('.').nth(1).and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
        let claims = payload.and_then(|payload| serde_json::from_slice::<Map<String, Value>>(&payload).ok());
        let claims = claims.ok_or_else(|| provider("its ID token has no claims".to_owned()))?;
        for name in ["nbf", "iat"] {
            if claims.get(name).and_then(millis).is_some_and(|at| at > now.after(LEEWAY)) {
                return Err(provider(format!("the claim {name} of its ID token is in the future")));
            }
        }
        Ok(claims)
    }

    async fn verify(
        &self,
        id_token: &CoreIdToken,
        nonce: &Nonce,
        now: Timestamp,
        anew: bool,
    ) -> Result<Result<(), ClaimsVerificationError>, SignInError> {
        let metadata = self.metadata(anew).await?;
        let client = self.client(metadata)?;
        // The time at which a token must not have expired yet.
        let least = u64::try_from(now.before(LEEWAY).as_millis()).unwrap_or_default();
        let verifier = client
            .id_token_verifier()
            .set_time_fn(move || (UNIX_EPOCH + Duration::from_millis(least)).into())
            .set_allowed_algs([
                CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
                CoreJwsSigningAlgorithm::EcdsaP256Sha256,
                CoreJwsSigningAlgorithm::EdDsa,
            ]);
        Ok(id_token.claims(&verifier, nonce).map(drop))
    }

    fn session(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Session, SignInError> {
        let text = |name: &str| {
            let text = claims.get(name).and_then(Value::as_str).unwrap_or_default();
            (!text.is_empty() && check_text(name, text).is_ok()).then(|| text.to_owned())
        };
        let subject = text("sub").ok_or_else(|| provider("its ID token has no usable sub".to_owned()))?;
        let granted = self.settings.claims.apply(claims).map_err(|why| SignInError::NotAllowed(why.to_string()))?;
        let name = ["name", "preferred_username", "email"].into_iter().find_map(text);
        let projects = match granted.access.projects {
            operations::Projects::All => None,
            operations::Projects::Only(projects) => Some(projects.into_iter().collect()),
        };
        Ok(Session {
            secret: random_text(),
            name: name.unwrap_or_else(|| subject.clone()),
            subject,
            organization: granted.access.organization,
            scopes: granted.scopes.iter().map(ToString::to_string).collect(),
            projects,
            begun_at: now.as_millis(),
            expires_at: now.after(self.settings.session_time).as_millis(),
            csrf_token: random_text(),
        })
    }

    /// The provider's discovery document, not older than allowed; with `anew` it is fetched now, unless it just was.
    /// While another caller fetches it, an old one is used.
    async fn metadata(&self, anew: bool) -> Result<CoreProviderMetadata, SignInError> {
        let fetched = match self.known() {
            Some((metadata, at)) if !anew && at.elapsed() < METADATA_TIME => return Ok(metadata),
            Some(_) if !anew => self.fetches.make_alone(METADATA_PAUSE, self.fetch()).await,
            _ => self.fetches.make(METADATA_PAUSE, self.fetch()).await,
        };
        if let Err(error) = fetched {
            tracing::warn!(error, "could not fetch the discovery document of the identity provider");
        }
        let known = self.known().map(|(metadata, _)| metadata);
        known.ok_or_else(|| provider("its discovery document could not be fetched; the log says why".to_owned()))
    }

    fn known(&self) -> Option<(CoreProviderMetadata, Instant)> {
        self.metadata.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches the discovery document; the error is for the log.
    async fn fetch(&self) -> Result<(), String> {
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(|error| error.to_string())?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.fetcher).await;
        let known = Some((metadata.map_err(|error| crate::error::chain(&error))?, Instant::now()));
        *self.metadata.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }
}

/// The library's client type states in its parameters what it knows; only two of them are ever named.
type Client = openidconnect::core::CoreClient<
    openidconnect::EndpointSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointNotSet,
    openidconnect::EndpointMaybeSet,
    openidconnect::EndpointMaybeSet,
>;

impl SignIn {
    fn client(&self, metadata: CoreProviderMetadata) -> Result<Client, SignInError> {
        let settings = &self.settings;
        let methods = metadata.token_endpoint_auth_methods_supported().cloned().unwrap_or_default();
        let in_body = methods.contains(&CoreClientAuthMethod::ClientSecretPost)
            && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic);
        let secret = settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose_secret().to_owned()));
        let redirect = RedirectUrl::new(format!("{}{CALLBACK}", self.origin));
        let redirect = redirect.map_err(|error| provider(error.to_string()))?;
        Ok(CoreClient::from_provider_metadata(metadata, ClientId::new(settings.client_id.clone()), secret)
            .set_auth_type(if in_body { AuthType::RequestBody } else { AuthType::BasicAuth })
            .set_redirect_uri(redirect))
    }

    /// The sign-in that a cookie holds.
    pub(super) fn login(&self, sealer: &Sealer, headers: &http::HeaderMap) -> Option<Login> {
        sealer.open(Purpose::Login, self.cookies.find(headers, Purpose::Login)?)
    }

    /// The session that a cookie holds, and that has not ended.
    pub(super) fn session_of(&self, sealer: &Sealer, headers: &http::HeaderMap, now: Timestamp) -> Option<Session> {
        let session: Session = sealer.open(Purpose::Session, self.cookies.find(headers, Purpose::Session)?)?;
        (now.as_millis() < session.expires_at).then_some(session)
    }

    /// How long a session lasts.
    pub(super) fn session_time(&self) -> Duration {
        self.settings.session_time
    }
}

/// A provider that does not do what it should; the cause is for the log.
fn provider(cause: String) -> SignInError {
    SignInError::Provider(cause.into())
}

/// A text of the provider in a form that may be shown: short and printable.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

fn shown_option(text: &Option<String>) -> String {
    text.as_deref().map(shown).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_does_not_answer_is_called_once_for_all_who_wait() {
        // Its connections are established, and nobody serves them.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sign_in = SignIn::new(OidcSettings {
            issuer: format!("http://{}", silent.local_addr().unwrap()),
            client_id: "longrun".to_owned(),
            client_secret: None,
            public_url: "https://longrun.example.com".to_owned(),
            request_scopes: Vec::new(),
            allow_http: false,
            session_time: Duration::from_secs(3_600),
            session_key: None,
            claims: ClaimMapping::default(),
        });
        let (sign_in, begun) = (sign_in.unwrap(), Instant::now());
        let waiting = (0..10).map(|_| sign_in.begin("/".to_owned(), Timestamp::from_millis(0)));
        for ended in futures_util::future::join_all(waiting).await {
            assert!(matches!(ended, Err(SignInError::Provider(_))));
        }
        assert!(begun.elapsed() < Duration::from_secs(9), "one after the other: {:?}", begun.elapsed());
    }
}
