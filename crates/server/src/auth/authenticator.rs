//! Finds the caller of a request by its credentials: an API token, a token of an identity provider, or the cookie of a
//! session.
//!
//! Whatever is wrong with it, the answer is the same, so that nothing can be learnt from it. A header `Authorization`
//! takes precedence over a cookie, even when it is wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use operations::Timestamp;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError, Token};
use tasks::{Next, Schedule, run_periodic};
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::identity::Identity;
use super::jwt::{Outcome, Verified};
use super::lookup::TokenLookup;
use super::oidc::SignIn;
use super::refusals::{Look, Refusals};
use super::secret::{PREFIX, Secret};
use super::session::{Cookies, Purpose, Sealer, Session, is_same, random_text};
use super::standing::{SessionKey, StandingSessions};
use super::usage::Usage;
use crate::error::ApiError;
use crate::link::Link;

/// The header that a request with a session's cookie needs when it changes something.
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// The header in which a browser says where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a session lasts that began with an API token.
const PAGE_SESSION_TIME: Duration = Duration::from_secs(12 * 3600);

/// A session that began with an API token, as its cookie holds it.
#[derive(Serialize, Deserialize)]
struct PageSession {
    secret: String,
    csrf_token: String,
    /// In milliseconds since 1970. The browser removes the cookie then, but somebody may have copied it.
    expires_at: i64,
}

impl PageSession {
    /// The session that a cookie holds, unless it has expired.
    fn open(sealer: &Sealer, cookie: &str, now: Timestamp) -> Option<PageSession> {
        let session: PageSession = sealer.open(Purpose::Page, cookie)?;
        (now.as_millis() < session.expires_at).then_some(session)
    }
}

/// Finds callers. Its tasks end when it is dropped.
pub(crate) struct Authenticator {
    pub(super) store: Arc<dyn Store>,
    pub(super) identity: Arc<Identity>,
    tokens: TokenLookup,
    usage: Usage,
    refusals: Arc<Refusals>,
    sessions: StandingSessions,
    /// Created when it is first needed: its key may come from the store.
    sealer: OnceCell<Sealer>,
    /// The same for sessions that begin with an API token.
    page_sealer: OnceCell<Sealer>,
    _refreshing: DropGuard,
}

/// The caller that was found.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    /// Who the caller is and what it may do; synthesized for a caller without an API token.
    pub(crate) token: Arc<Token>,
    proof: Proof,
}

/// How a caller was found, and how it can be found again.
#[derive(Clone, Debug)]
enum Proof {
    /// By an API token whose secret has this SHA-256.
    Secret([u8; 32]),
    /// By a token of an identity provider.
    Jwt(Arc<Verified>),
    /// By a session with this key in the store.
    Session(SessionKey),
}

impl Authenticator {
    /// Starts the tasks that fetch keys and record uses. Must be called within a tokio runtime.
    pub(crate) fn start(store: Arc<dyn Store>, identity: Arc<Identity>) -> Authenticator {
        let stop = CancellationToken::new();
        for issuer in 0..identity.jwt.issuers() {
            let (identity, health, stop) = (Arc::clone(&identity), store.health(), stop.clone());
            tokio::spawn(async move {
                let schedule = Schedule::every("identity_provider_keys", identity.jwt.period(issuer));
                run_periodic(&health, schedule, &stop, || async {
                    // An unavailable provider is not a failure of this server: the known keys remain in use.
                    identity.jwt.refresh(issuer).await;
                    Ok::<_, std::convert::Infallible>(Next::AfterPeriod)
                })
                .await;
            });
        }
        let refusals = Arc::<Refusals>::default();
        Authenticator {
            tokens: TokenLookup::new(Arc::clone(&store), Arc::clone(&refusals)),
            usage: Usage::start(Arc::clone(&store)),
            refusals,
            sessions: StandingSessions::new(Arc::clone(&store)),
            sealer: OnceCell::new(),
            page_sealer: OnceCell::new(),
            identity,
            store,
            _refreshing: stop.drop_guard(),
        }
    }

    /// The caller with these headers, over this connection.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] when nobody is found; [`ApiError::CrossSite`] when a session's cookie alone is not
    /// enough; [`ApiError::TooManyUnknownTokens`] when the address has tried too many; and when the store cannot be
    /// queried.
    pub(crate) async fn authenticate(
        &self,
        method: &Method,
        headers: &HeaderMap,
        link: Option<&Link>,
    ) -> Result<Authenticated, ApiError> {
        let address = link.and_then(Link::counted);
        let found = if headers.contains_key(AUTHORIZATION) {
            let text = bearer(headers).ok_or(ApiError::Unauthenticated)?;
            match Secret::parse(text) {
                Some(secret) => self.by_secret(secret.hash(), address).await?,
                None => self.by_jwt(text, address).await?,
            }
        } else {
            self.by_cookie(method, headers, link).await?
        };
        if let Some(link) = link {
            link.authenticated();
        }
        Ok(found)
    }

    /// Whether a caller is still what it was at the start of a call that takes long: neither revoked nor expired. One
    /// that cannot be looked up now counts as valid. Costs one query per second at most, however many calls check it
    /// (see [`TokenLookup`]).
    pub(crate) async fn is_still_valid(&self, caller: &Authenticated) -> bool {
        match &caller.proof {
            Proof::Secret(hash) => match self.tokens.find(*hash, None).await {
                Ok(Some(token)) => token.is_valid(self.store.now()),
                Ok(None) => false,
                Err(_) => caller.token.is_valid(self.store.now()),
            },
            Proof::Jwt(verified) => self.identity.jwt.still_holds(verified, self.store.now()),
            Proof::Session(key) => {
                caller.token.is_valid(self.store.now()) && self.sessions.stands(key).await.unwrap_or(true)
            }
        }
    }

    async fn by_secret(&self, hash: [u8; 32], address: Option<IpAddr>) -> Result<Authenticated, ApiError> {
        let token = self.tokens.find(hash, address).await?.ok_or(ApiError::Unauthenticated)?;
        if !token.is_valid(self.store.now()) {
            return Err(ApiError::Unauthenticated);
        }
        self.usage.note(&token.id);
        Ok(Authenticated { token, proof: Proof::Secret(hash) })
    }

    async fn by_jwt(&self, text: &str, address: Option<IpAddr>) -> Result<Authenticated, ApiError> {
        // A mistyped API token is refused without a look-up.
        if self.identity.jwt.issuers() == 0 || text.starts_with(PREFIX) {
            return Err(ApiError::Unauthenticated);
        }
        let now = self.store.now();
        let verified = match self.identity.jwt.known(text, now) {
            Some(verified) => verified,
            None => {
                let look = self.look(address)?;
                match self.identity.jwt.verify(text, now).await {
                    Outcome::Valid(verified) => verified,
                    Outcome::Refused => return Err(ApiError::Unauthenticated),
                    Outcome::Unknown => {
                        look.iter().for_each(Look::found_nothing);
                        return Err(ApiError::Unauthenticated);
                    }
                    // The token may be valid. What went wrong with the fetch is in the log.
                    Outcome::KeysUnavailable => {
                        return Err(ApiError::Unavailable(
                            "the keys of an identity provider could not be fetched yet".into(),
                        ));
                    }
                }
            }
        };
        Ok(Authenticated { token: Arc::clone(&verified.token), proof: Proof::Jwt(verified) })
    }

    async fn by_session(&self, method: &Method, headers: &HeaderMap) -> Result<Authenticated, ApiError> {
        let sign_in = self.identity.sign_in.as_ref().ok_or(ApiError::Unauthenticated)?;
        let session = self.session(sign_in, headers).await?.ok_or(ApiError::Unauthenticated)?;
        if !is_safe(method) {
            require_own_page(sign_in, headers, &session)?;
        }
        let token = session.token();
        if !token.is_valid(self.store.now()) {
            return Err(ApiError::Unauthenticated);
        }
        Ok(Authenticated { token: Arc::new(token), proof: Proof::Session(session.key()) })
    }

    /// Finds the caller by its cookie, whichever way it signed in.
    async fn by_cookie(
        &self,
        method: &Method,
        headers: &HeaderMap,
        link: Option<&Link>,
    ) -> Result<Authenticated, ApiError> {
        let Some((found, csrf_token)) = self.by_page_session(headers, link).await? else {
            return self.by_session(method, headers).await;
        };
        if !is_safe(method) && !is_from_own_page(headers, only(headers, CSRF_TOKEN).unwrap_or_default(), &csrf_token) {
            return Err(ApiError::CrossSite);
        }
        Ok(found)
    }

    /// The visitor of a page, and the token that a form on it must send back. A form cannot send a header, so the
    /// handler of the form calls [`is_from_own_page`] with the value that the form sent.
    pub(crate) async fn visitor(
        &self,
        headers: &HeaderMap,
        link: Option<&Link>,
    ) -> Result<(Authenticated, String), ApiError> {
        let visitor = match self.by_page_session(headers, link).await? {
            Some(visitor) => visitor,
            None => {
                let sign_in = self.identity.sign_in.as_ref().ok_or(ApiError::Unauthenticated)?;
                let session = self.session(sign_in, headers).await?.ok_or(ApiError::Unauthenticated)?;
                (self.by_session(&Method::GET, headers).await?, session.csrf_token)
            }
        };
        if let Some(link) = link {
            link.authenticated();
        }
        Ok(visitor)
    }

    /// Whether a browser says that a page of another site sends this request: in `Sec-Fetch-Site`, or, over a
    /// connection that browsers do not trust, in `Origin` only.
    pub(crate) fn is_from_other_site(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if let Some(site) = headers.get(SEC_FETCH_SITE) {
            return site != "same-origin" && site != "none";
        }
        let Some(origin) = headers.get(ORIGIN) else { return false };
        let host = uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = host.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes));
        let is_own = origin.to_str().is_ok_and(|origin| {
            origin.split_once("://").is_some_and(|(_, of)| host == Some(of.as_bytes()))
                || self.identity.sign_in.as_ref().is_some_and(|sign_in| sign_in.is_own_origin(origin))
        });
        !is_own
    }

    /// Starts a browser session for the holder of this API token: returns the headers that set its cookie, and that
    /// remove a session of the provider, which may belong to somebody else and would otherwise remain when this one has
    /// ended.
    pub(crate) async fn begin_page_session(
        &self,
        secret: &Secret,
        link: Option<&Link>,
    ) -> Result<Vec<String>, ApiError> {
        self.by_secret(secret.hash(), link.and_then(Link::counted)).await?;
        let expires_at = self.store.now().after(PAGE_SESSION_TIME).as_millis();
        let session = PageSession { secret: secret.expose().to_owned(), csrf_token: random_text(), expires_at };
        let sealed = self.page_sealer().await?.seal(Purpose::Page, &session);
        let sealed = sealed.map_err(|error| ApiError::Internal(error.into()))?;
        let kept = self.page_cookies(link);
        let mut cookies = vec![
            kept.set(Purpose::Page, &sealed, PAGE_SESSION_TIME.as_secs()),
            Cookies { secure: !kept.secure }.remove(Purpose::Page),
        ];
        cookies.extend(self.identity.sign_in.as_ref().map(|sign_in| sign_in.cookies.remove(Purpose::Session)));
        Ok(cookies)
    }

    /// The headers that remove the sessions of a browser.
    pub(crate) fn forget_sessions(&self) -> Vec<String> {
        let mut forget = Cookies::remove_both(Purpose::Page).to_vec();
        forget.extend(self.identity.sign_in.as_ref().map(|sign_in| sign_in.cookies.remove(Purpose::Session)));
        forget
    }

    /// Whether people can sign in at a provider.
    pub(crate) fn has_provider(&self) -> bool {
        self.identity.sign_in.is_some()
    }

    /// Browsers keep a cookie for encrypted connections only when it was set over one. A proxy before the server may
    /// end the encryption: then the address that the operator configured says so.
    fn page_cookies(&self, link: Option<&Link>) -> Cookies {
        let is_public = self.identity.sign_in.as_ref().is_some_and(|sign_in| sign_in.cookies.secure);
        Cookies { secure: is_public || link.is_some_and(Link::is_tls) }
    }

    /// The caller of a session that began with an API token. The session ends when it expires, and when the token does.
    /// Its cookie is ignored from then on, so that it does not take precedence over a session of the provider. Over an
    /// encrypted connection, only the cookie counts that browsers keep for such connections: other sites can set one of
    /// the other name.
    async fn by_page_session(
        &self,
        headers: &HeaderMap,
        link: Option<&Link>,
    ) -> Result<Option<(Authenticated, String)>, ApiError> {
        let Some(cookie) = self.page_cookies(link).find(headers, Purpose::Page) else { return Ok(None) };
        let session = PageSession::open(self.page_sealer().await?, cookie, self.store.now());
        let Some(session) = session else { return Ok(None) };
        let Some(secret) = Secret::parse(&session.secret) else { return Ok(None) };
        match self.by_secret(secret.hash(), link.and_then(Link::counted)).await {
            Ok(found) => Ok(Some((found, session.csrf_token))),
            Err(ApiError::Unauthenticated) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn page_sealer(&self) -> Result<&Sealer, StoreError> {
        let make = || async {
            let key = self.store.position_key().await?.derive("sessions of pages");
            Ok(Sealer::new(&SecretSlice::from(key.to_vec()), b"page".to_vec()))
        };
        self.page_sealer.get_or_try_init(make).await
    }

    /// A look-up of a secret that may be unknown; refused beforehand when this address has tried too many unknown ones.
    pub(super) fn look(&self, address: Option<IpAddr>) -> Result<Option<Look<'_>>, ApiError> {
        let look = address.map(|address| self.refusals.begin(address, Instant::now())).transpose();
        look.map_err(|retry_after| ApiError::TooManyUnknownTokens { retry_after })
    }

    /// Records that a session was ended.
    pub(crate) fn session_ended(&self, organization: &str, id: &str) {
        self.sessions.forget(&(organization.to_owned(), id.to_owned()));
    }

    /// The session of a request's cookie, if it is valid.
    pub(super) async fn session(&self, sign_in: &SignIn, headers: &HeaderMap) -> Result<Option<Session>, StoreError> {
        // A request without a cookie has no session, even if the key cannot be read from the store.
        if sign_in.cookies.find(headers, Purpose::Session).is_none() {
            return Ok(None);
        }
        let session = sign_in.session_of(self.sealer(sign_in).await?, headers, self.store.now());
        match session {
            Some(session) if self.sessions.stands(&session.key()).await? => Ok(Some(session)),
            _ => Ok(None),
        }
    }

    /// What cookies are sealed with.
    pub(super) async fn sealer(&self, sign_in: &SignIn) -> Result<&Sealer, StoreError> {
        let make = || async {
            let secret = match sign_in.session_key() {
                Some(key) => key.clone(),
                None => SecretSlice::from(self.store.position_key().await?.derive("sessions").to_vec()),
            };
            Ok(Sealer::new(&secret, sign_in.context()))
        };
        self.sealer.get_or_try_init(make).await
    }
}

/// Whether a call changes nothing.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Whether a request that changes something was sent by a page of this server: it has the token that only such a page
/// can read, and no browser says otherwise.
pub(crate) fn is_from_own_page(headers: &HeaderMap, given: &str, csrf_token: &str) -> bool {
    let is_foreign = only(headers, SEC_FETCH_SITE).is_some_and(|site| site != "same-origin");
    !is_foreign && is_same(given, csrf_token)
}

/// Refuses a request that changes something, unless it comes from a page of this server that could read the session.
pub(super) fn require_own_page(sign_in: &SignIn, headers: &HeaderMap, session: &Session) -> Result<(), ApiError> {
    let given = only(headers, CSRF_TOKEN).unwrap_or_default();
    if has_own_origin(sign_in, headers) && is_same(given, &session.csrf_token) {
        Ok(())
    } else {
        Err(ApiError::CrossSite)
    }
}

/// Whether a request says that it comes from a page of this server.
pub(super) fn has_own_origin(sign_in: &SignIn, headers: &HeaderMap) -> bool {
    only(headers, ORIGIN).is_some_and(|origin| sign_in.is_own_origin(origin))
}

/// The value of a header that is given exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

/// The token in the only `Authorization: Bearer` header. The scheme's case does not matter (RFC 9110, section 11.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credentials) = only(headers, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cookie_holds_until_when_its_session_lasts() {
        let sealer = Sealer::new(&SecretSlice::from(vec![1; 32]), b"page".to_vec());
        let session = PageSession { secret: "s".to_owned(), csrf_token: "c".to_owned(), expires_at: 1_000 };
        let cookie = sealer.seal(Purpose::Page, &session).unwrap();
        let stands = |cookie: &str, now| PageSession::open(&sealer, cookie, Timestamp::from_millis(now)).is_some();
        assert!(stands(&cookie, 999));
        assert!(!stands(&cookie, 1_000) && !stands(&cookie, 2_000));
        let endless = sealer.seal(Purpose::Page, &json!({"secret": "s", "csrf_token": "c"})).unwrap();
        assert!(!stands(&endless, 999), "a session without an end is not valid");
    }
}
