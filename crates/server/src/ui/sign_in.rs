//! Signing in with an API token, and out.

use askama::Template;
use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{HeaderValue, SET_COOKIE};
use http::{Extensions, HeaderMap, Method, Uri};
use serde::Deserialize;

use super::assets::Assets;
use super::error::Problem;
use super::visitor::Visitor;
use super::{HOME, respond};
use crate::app::App;
use crate::auth::{Secret, end_session_of, is_local};
use crate::error::ApiError;
use crate::link::Link;

#[derive(Template)]
#[template(path = "ui/sign_in.html")]
struct Page<'a> {
    assets: Assets,
    /// Why the sign-in failed; empty at first.
    problem: &'a str,
    return_to: &'a str,
    has_provider: bool,
}

/// Where to go afterwards.
#[derive(Default, Deserialize)]
pub(super) struct Asked {
    /// The code of a link that signs in once.
    #[serde(default)]
    once: String,
    #[serde(default)]
    return_to: String,
}

/// `GET /ui/sign-in`.
pub(super) async fn page(
    State(app): State<App>,
    method: Method,
    asked: Result<Query<Asked>, QueryRejection>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = asked.map(|Query(asked)| asked).unwrap_or_default();
    // A request that only checks the address, or fetches it in advance, does not use the link up.
    if asked.once.is_empty() || method != Method::GET || headers.contains_key("sec-purpose") {
        return form(&app, &headers, "", &asked.return_to);
    }
    let used = "This link has been used, or its time is over: it works once, within ten minutes. Start `longrun dev` \
        again for a new one, or enter the token.";
    match app.sign_in_links.redeem(&asked.once) {
        Some(secret) => begin(&app, &extensions, &headers, &secret, &asked.return_to, used).await,
        None => form(&app, &headers, used, &asked.return_to),
    }
}

fn form(app: &App, headers: &HeaderMap, problem: &str, return_to: &str) -> Result<Response, Problem> {
    let return_to = if is_local(return_to) { return_to } else { HOME };
    respond::page(headers, &Page { assets: Assets, problem, return_to, has_provider: app.auth.has_provider() })
}

#[derive(Deserialize)]
pub(super) struct Entered {
    #[serde(default)]
    token: String,
    #[serde(default)]
    return_to: String,
}

/// `POST /ui/sign-in`. There is no session yet that a page of another site could abuse; but such a page could try to
/// sign the browser in as somebody else.
pub(super) async fn sign_in(
    State(app): State<App>,
    uri: Uri,
    extensions: Extensions,
    headers: HeaderMap,
    entered: Result<Form<Entered>, FormRejection>,
) -> Result<Response, Problem> {
    let Ok(Form(entered)) = entered else { return form(&app, &headers, "Enter a token.", "") };
    if app.auth.is_from_other_site(&uri, &headers) {
        return Err(ApiError::StaleForm.into());
    }
    let wrong = "This token is not valid: it is mistyped, revoked or expired.";
    let Some(secret) = Secret::parse(entered.token.trim()) else {
        return form(&app, &headers, wrong, &entered.return_to);
    };
    begin(&app, &extensions, &headers, &secret, &entered.return_to, wrong).await
}

/// Starts the session of a token, in place of one of the provider, and redirects; shows the form with the text `wrong`
/// when the token is not valid.
async fn begin(
    app: &App,
    extensions: &Extensions,
    headers: &HeaderMap,
    secret: &Secret,
    return_to: &str,
    wrong: &str,
) -> Result<Response, Problem> {
    match app.auth.begin_page_session(secret, extensions.get::<Link>()).await {
        Ok(cookies) => {
            if let Err(error) = end_session_of(&app.auth, headers, extensions).await {
                // The new cookies replace it in this browser in any case.
                tracing::warn!(error = &error as &dyn std::error::Error, "a session could not be ended");
            }
            let to = if is_local(return_to) { return_to } else { HOME };
            let mut response = Redirect::to(to).into_response();
            for cookie in cookies {
                response.headers_mut().append(SET_COOKIE, header(&cookie));
            }
            Ok(response)
        }
        Err(ApiError::Unauthenticated) => form(app, headers, wrong, return_to),
        Err(error) => Err(error.into()),
    }
}

#[derive(Default, Deserialize)]
pub(super) struct Leaving {
    #[serde(default)]
    csrf_token: String,
}

/// `POST /ui/sign-out`.
pub(super) async fn sign_out(
    State(app): State<App>,
    visitor: Visitor,
    extensions: Extensions,
    headers: HeaderMap,
    leaving: Result<Form<Leaving>, FormRejection>,
) -> Result<Response, Problem> {
    visitor.check(&leaving.map_or(String::new(), |Form(leaving)| leaving.csrf_token))?;
    end_session_of(&app.auth, &headers, &extensions).await?;
    let mut response = Redirect::to("/ui/sign-in").into_response();
    for cookie in app.auth.forget_sessions() {
        response.headers_mut().append(SET_COOKIE, header(&cookie));
    }
    Ok(response)
}

fn header(cookie: &str) -> HeaderValue {
    HeaderValue::try_from(cookie).expect("names, base64 and attributes are visible ASCII")
}
