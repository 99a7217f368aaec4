//! The routes by which people sign in and out: `GET /auth/login`, `GET /auth/callback`, `GET /auth/session`,
//! `POST /auth/logout`. They exist only if a provider is configured.
//!
//! An error is shown to a person in a browser as a page that says what to do, and to a program like any other error.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION, REFERRER_POLICY, SET_COOKIE,
};
use http::{Extensions, HeaderValue, StatusCode};
use openidconnect::url::form_urlencoded;
use serde::Serialize;
use store::StoreError;

use super::authenticator::{Authenticator, has_own_origin, require_own_page};
use super::oidc::{CALLBACK, LOGIN_TIME, Returned, SignIn};
use super::refusals::Look;
use super::session::{Cookies, Purpose, Session, is_same};
use crate::error::{ApiError, SignInError};
use crate::http::{Origin, Within};
use crate::link::Link;

/// Where a person is sent by default.
const HOME: &str = "/";
/// The most bytes of a path to return to.
const MAX_RETURN_TO: usize = 1_024;

/// The routes, whose requests may take this long; none when nobody can sign in.
pub(crate) fn sign_in_routes<S: Clone + Send + Sync + 'static>(
    authenticator: &Arc<Authenticator>,
    limit: Duration,
) -> Router<S> {
    if authenticator.identity.sign_in.is_none() {
        return Router::new();
    }
    Router::new()
        .route("/auth/login", get(Within(limit, login)))
        .route(CALLBACK, get(Within(limit, callback)))
        .route("/auth/session", get(Within(limit, session)))
        .route("/auth/logout", post(Within(limit, logout)))
        .with_state(Arc::clone(authenticator))
}

type Auth = State<Arc<Authenticator>>;

fn provider(authenticator: &Authenticator) -> &SignIn {
    authenticator.identity.sign_in.as_ref().expect("there are routes only with a provider")
}

/// Sends the browser to the provider.
async fn login(State(auth): Auth, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let begin = async {
        let return_to = return_to(query.as_deref().unwrap_or(""))?;
        let sign_in = provider(&auth);
        let (url, login) = sign_in.begin(return_to, auth.store.now()).await?;
        let sealed = auth.sealer(sign_in).await?.seal(Purpose::Login, &login);
        let sealed = sealed.map_err(|error| ApiError::Internal(error.into()))?;
        let cookie = sign_in.cookies.set(Purpose::Login, &sealed, LOGIN_TIME.as_secs());
        Ok(redirect(url.as_str(), &[cookie]))
    };
    begin.await.unwrap_or_else(|error| refused(error, &headers))
}

/// Receives the browser from the provider, and starts its session. A session that began with an API token is removed
/// from the browser: it may belong to somebody else.
async fn callback(
    State(auth): Auth,
    link: Option<Extension<Link>>,
    RawQuery(query): RawQuery,
    extensions: Extensions,
    headers: HeaderMap,
) -> Response {
    let sign_in = provider(&auth);
    let link = link.as_ref().map(|Extension(link)| link);
    let ended = end(&auth, sign_in, link, query.as_deref().unwrap_or(""), &extensions, &headers).await;
    ended.unwrap_or_else(|error| {
        let mut response = refused(error, &headers);
        set_cookies(&mut response, &[sign_in.cookies.remove(Purpose::Login)]);
        response
    })
}

async fn end(
    auth: &Authenticator,
    sign_in: &SignIn,
    link: Option<&Link>,
    query: &str,
    extensions: &Extensions,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let returned = returned(query).ok_or(SignInError::Stale)?;
    let sealer = auth.sealer(sign_in).await?;
    let login = sign_in.login(sealer, headers).ok_or(SignInError::Stale)?;
    if !returned.state.as_deref().is_some_and(|state| is_same(state, &login.state)) {
        return Err(SignInError::Stale.into());
    }
    // From here on, each costs a call to the provider. Before, a page of another site could send anybody's browser here
    // and use up the attempts of its address.
    let look = auth.look(link.and_then(Link::counted))?;
    let session = sign_in.end(&login, &returned, auth.store.now()).await.inspect_err(|error| {
        if !matches!(error, SignInError::Provider(_)) {
            look.iter().for_each(Look::found_nothing);
        }
    })?;
    let sealed = sealer.seal(Purpose::Session, &session);
    let sealed = sealed.map_err(|error| SignInError::NotAllowed(error.to_string()))?;
    let begun = recorded(auth, &session, "sessions.begin", extensions).begin_session(session.stored()).await;
    begun.map_err(|error| match error {
        StoreError::OrganizationGone => SignInError::NotAllowed("its organization was deleted".to_owned()).into(),
        error => ApiError::from(error),
    })?;
    tracing::info!(subject = session.subject, organization = session.organization, "a person signed in");
    let lasts = sign_in.session_time().as_secs();
    let mut cookies =
        vec![sign_in.cookies.set(Purpose::Session, &sealed, lasts), sign_in.cookies.remove(Purpose::Login)];
    cookies.extend(Cookies::remove_both(Purpose::Page));
    Ok(redirect(&login.return_to, &cookies))
}

/// The store, which records that the person starts or ends the session.
fn recorded(
    auth: &Authenticator,
    session: &Session,
    action: &'static str,
    extensions: &Extensions,
) -> Arc<dyn store::Store> {
    let (organization, id) = session.key();
    let target = vec![format!("sessions/{id}")];
    let origin = Origin::of(extensions);
    auth.store.on_behalf_of(crate::audit::recorded(&session.token(), &origin, &organization, action, target))
}

#[derive(Serialize)]
struct SessionAnswer {
    session: WireSession,
}

/// The person who is signed in, as the page sees it.
#[derive(Serialize)]
struct WireSession {
    name: String,
    subject: String,
    organization: String,
    scopes: Vec<String>,
    /// Left out when it is not limited to projects.
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<String>>,
    expires_at: String,
    csrf_token: String,
}

/// Returns who is signed in.
async fn session(State(auth): Auth, headers: HeaderMap) -> Result<Response, ApiError> {
    let session = auth.session(provider(&auth), &headers).await?.ok_or(ApiError::Unauthenticated)?;
    let expires_at = operations::Timestamp::from_millis(session.expires_at).to_string();
    let session = WireSession {
        name: session.name,
        subject: session.subject,
        organization: session.organization,
        scopes: session.scopes,
        projects: session.projects,
        expires_at,
        csrf_token: session.csrf_token,
    };
    Ok(json(crate::render::to_json(&SessionAnswer { session })))
}

/// Ends a session on all servers; the browser removes its cookie, and that of a session that began with an API token.
async fn logout(State(auth): Auth, extensions: Extensions, headers: HeaderMap) -> Result<Response, ApiError> {
    let sign_in = provider(&auth);
    // A page of another site could send a browser here without the cookie, only to have the cookie removed.
    if !has_own_origin(sign_in, &headers) {
        return Err(ApiError::CrossSite);
    }
    if let Some(session) = auth.session(sign_in, &headers).await? {
        require_own_page(sign_in, &headers, &session)?;
        end_session(&auth, &session, &extensions).await?;
    }
    let mut response = json(b"{}".to_vec());
    set_cookies(&mut response, &auth.forget_sessions());
    Ok(response)
}

/// Ends the session of a request's cookie on all servers, if there is one. Its caller has made sure that the request
/// comes from a page of this server.
pub(crate) async fn end_session_of(
    auth: &Authenticator,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<(), ApiError> {
    let Some(sign_in) = &auth.identity.sign_in else { return Ok(()) };
    match auth.session(sign_in, headers).await? {
        Some(session) => end_session(auth, &session, extensions).await,
        None => Ok(()),
    }
}

async fn end_session(auth: &Authenticator, session: &Session, extensions: &Extensions) -> Result<(), ApiError> {
    let (organization, id) = session.key();
    recorded(auth, session, "sessions.end", extensions).revoke_session(&organization, &id).await?;
    auth.session_ended(&organization, &id);
    Ok(())
}

fn json(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response()
}

/// Where to go after the sign-in: a path of this server, so that nobody is led elsewhere.
fn return_to(query: &str) -> Result<String, ApiError> {
    let mut found = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "return_to" {
            return Err(ApiError::field(name, "is unknown; the only parameter is return_to"));
        }
        if found.replace(value.into_owned()).is_some() {
            return Err(ApiError::field("return_to", "must be given only once"));
        }
    }
    let path = found.unwrap_or_else(|| HOME.to_owned());
    if is_local(&path) {
        Ok(path)
    } else {
        let wanted = format!("must be a path of this server of at most {MAX_RETURN_TO} bytes, e.g. /operations?page=2");
        Err(ApiError::field("return_to", wanted))
    }
}

/// Whether a browser treats this as a path on the same server: two slashes begin the name of another server, and
/// browsers treat backslashes as slashes and drop tabs and line ends.
pub(crate) fn is_local(path: &str) -> bool {
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    path.starts_with('/') && !path.starts_with("//") && is_plain && path.len() <= MAX_RETURN_TO
}

/// The parameters that the provider sends in the query; others are ignored. `None` when one is given twice.
fn returned(query: &str) -> Option<Returned> {
    let mut returned = Returned::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = match &*name {
            "code" => &mut returned.code,
            "state" => &mut returned.state,
            "iss" => &mut returned.iss,
            "error" => &mut returned.error,
            "error_description" => &mut returned.error_description,
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return None;
        }
    }
    Some(returned)
}

fn redirect(to: &str, cookies: &[String]) -> Response {
    let Ok(to) = HeaderValue::try_from(to) else {
        return ApiError::Internal("an address is no value of a header".into()).into_response();
    };
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The address of this answer may hold a code.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    set_cookies(&mut response, cookies);
    response
}

fn set_cookies(response: &mut Response, cookies: &[String]) {
    for cookie in cookies {
        let value = HeaderValue::try_from(cookie).expect("names, base64 and attributes are visible ASCII");
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// An error as a page for people, or like any other for programs.
fn refused(error: ApiError, headers: &HeaderMap) -> Response {
    let wants_page =
        headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|a| a.contains("text/html"));
    let message = error.to_string();
    let response = error.into_response();
    if !wants_page {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        parts.headers.insert(name, HeaderValue::from_static(value));
    }
    Response::from_parts(parts, page(&message).into())
}

fn page(message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sign-in</title></head><body>\
         <h1>You are not signed in</h1><p>{message}</p><p><a href=\"/auth/login\">Sign in again</a></p></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_server_are_returned_to() {
        for good in ["/", "/operations?page=2#x", "/a//b", "/%2F/evil.example"] {
            assert!(is_local(good), "{good}");
        }
        let long = format!("/{}", "a".repeat(MAX_RETURN_TO));
        for bad in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/a b",
            "/\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/ü",
            &long,
        ] {
            assert!(!is_local(bad), "{bad:?}");
        }
        assert_eq!(return_to("").ok().as_deref(), Some("/"));
        assert_eq!(return_to("return_to=%2Fa%3Fb").ok().as_deref(), Some("/a?b"));
        assert!(return_to("return_to=/a&return_to=/b").is_err() && return_to("returnto=/a").is_err());
    }

    #[test]
    fn a_page_shows_text_as_text() {
        let page = page("<script>alert(\"1\")</script> & more");
        assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; more"), "{page}");
    }

    #[test]
    fn what_a_provider_says_twice_is_not_understood() {
        let found = returned("code=a&state=b&session_state=c&session_state=d");
        assert_eq!(found.map(|returned| (returned.code, returned.state)), Some((Some("a".into()), Some("b".into()))));
        assert!(returned("code=a&code=b").is_none());
    }
}
