//! The web page, as a browser asks for it: signing in and out, what is shown, and what forms may do.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Operation, Outcome, Resource};
use store::Scope;

use crate::harness::{Answer, Caller, Server};

/// How the page of somebody who is signed in begins.
pub const NAVIGATION: &str = "<nav class=\"pages-of\"";

pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Somebody who looks at the page.
pub struct Browser {
    pub caller: Caller,
    pub cookie: String,
}

impl Browser {
    /// Signs in with the token of a caller.
    pub async fn sign_in(server: &Server, token_of: &Caller) -> Browser {
        let secret = token_of.authorization.as_deref().unwrap().strip_prefix("Bearer ").unwrap();
        let caller = server.nobody();
        let body = format!("token={secret}&return_to=%2Fui%2Foperations%3Fkind%3Dscan");
        let answer = caller.send(Method::POST, "/ui/sign-in", &[FORM], body).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::SEE_OTHER, "/ui/operations?kind=scan"),
            "{answer:?}"
        );
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        assert!(!cookie.contains(secret), "the cookie is sealed: {cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Browser { caller, cookie }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.caller.send(Method::GET, path, &[("cookie", &self.cookie)], "").await
    }

    /// The same, following the redirect.
    pub async fn open(&self, path: &str) -> Answer {
        let answer = self.get(path).await;
        match answer.header("location") {
            "" => answer,
            location => self.get(location).await,
        }
    }

    /// Sends a form as the page at `from` has it, with these fields filled in.
    pub async fn send(&self, from: &str, to: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token(from).await;
        let fields = [("csrf_token", token.as_str())].iter().chain(fields).copied().collect::<Vec<_>>();
        self.post(to, &form(&fields)).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.caller.send(Method::POST, path, &[("cookie", &self.cookie), FORM], body.to_owned()).await
    }

    /// The token that the forms of a page send back.
    pub async fn form_token(&self, path: &str) -> String {
        let page = self.get(path).await;
        let (_, rest) = page.text().split_once("name=\"csrf_token\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// Fields as browsers encode them.
pub fn form(fields: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

pub fn assert_is_page(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("script-src 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!answer.text().contains("style=") && !answer.text().contains("<script>"), "nothing is inline");
}

/// Asserts that something is not there, and that the page that says so has the navigation.
pub fn assert_is_missing(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.text().contains(NAVIGATION), "{}", answer.text());
}

#[tokio::test]
async fn who_has_a_token_signs_in_and_out() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let asked = nobody.get("/ui/operations?kind=scan").await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    assert_eq!(asked.header("location"), "/ui/sign-in?return_to=%2Fui%2Foperations%3Fkind%3Dscan");
    assert_is_page(&nobody.get(asked.header("location")).await);
    assert_eq!(nobody.get("/").await.header("location"), "/ui");
    for wrong in ["token=", "token=lrn_wrong", "nothing", ""] {
        let refused = nobody.send(Method::POST, "/ui/sign-in", &[FORM], wrong).await;
        assert_is_page(&refused);
        assert!(refused.text().contains("This token is not valid"), "{wrong}");
        assert_eq!(refused.header("set-cookie"), "");
    }

    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = browser.get("/ui/operations").await;
    assert_is_page(&page);
    assert!(page.text().contains("No operations yet") && page.text().contains("acme"), "{page:?}");

    let token = browser.form_token("/ui/operations").await;
    assert_eq!(browser.post("/ui/sign-out", "csrf_token=wrong").await.status, StatusCode::FORBIDDEN);
    let out = browser.post("/ui/sign-out", &format!("csrf_token={token}")).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "/ui/sign-in"));
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{out:?}");
}

#[tokio::test]
async fn no_page_of_another_site_signs_a_browser_in() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let secret = acme.authorization.as_deref().unwrap().strip_prefix("Bearer ").unwrap();
    for (name, value, status) in [
        ("origin", "https://evil.example", StatusCode::FORBIDDEN),
        ("origin", "https://test.evil.example", StatusCode::FORBIDDEN),
        ("origin", "null", StatusCode::FORBIDDEN),
        ("origin", "http://test", StatusCode::SEE_OTHER),
        // A proxy may have ended the encryption.
        ("origin", "https://test", StatusCode::SEE_OTHER),
        ("sec-fetch-site", "cross-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-site", StatusCode::FORBIDDEN),
        ("sec-fetch-site", "same-origin", StatusCode::SEE_OTHER),
    ] {
        let headers = [FORM, (name, value)];
        let answer = server.nobody().send(Method::POST, "/ui/sign-in", &headers, format!("token={secret}")).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.headers.contains_key("set-cookie"), status == StatusCode::SEE_OTHER, "{name}: {value}");
    }
}

#[tokio::test]
async fn nobody_is_led_elsewhere_by_a_sign_in() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let secret = acme.authorization.as_deref().unwrap().strip_prefix("Bearer ").unwrap();
    for elsewhere in ["https%3A%2F%2Fevil.example", "%2F%2Fevil.example", "%2F%5Cevil.example"] {
        let body = format!("token={secret}&return_to={elsewhere}");
        let answer = server.nobody().send(Method::POST, "/ui/sign-in", &[FORM], body).await;
        assert_eq!(answer.header("location"), "/ui", "{elsewhere}");
    }
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let server = Server::start().await;
    let (caller, token) = server.caller_and_token(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let browser = Browser::sign_in(&server, &caller).await;
    server.store.revoke_token(&token.id).await.unwrap();
    // What is known of a token is checked again after a second at most.
    let ended = async {
        while browser.get("/ui/operations").await.status != StatusCode::SEE_OTHER {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.unwrap();
    for altered in [format!("{}x", browser.cookie), "longrun-page=AAAA".to_owned(), "longrun-page=".to_owned()] {
        let answer = browser.caller.send(Method::GET, "/ui/operations", &[("cookie", &altered)], "").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{altered}");
    }
}

/// An operation whose every text is markup.
async fn hostile(server: &Server) -> Operation {
    let markup = |place: &str| format!("\"><script>alert('{place}')</script>");
    let operation = NewOperation {
        resource: Some(Resource { resource_type: markup("type"), resource_id: markup("id") }),
        project_id: markup("project"),
        project_version_id: markup("version"),
        max_attempts: 1,
        ..NewOperation::of_kind("scan")
    };
    let outcome = Outcome::Failed { message: markup("error"), retryable: false };
    server.ended(operation, outcome).await
}

#[tokio::test]
async fn what_callers_wrote_is_shown_as_text() {
    let server = Server::start().await;
    let failed = hostile(&server).await;
    server.completed("scan", "{\"<script>alert('key')</script>\":\"<script>alert('output')</script>\"}").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let list = browser.open("/ui/operations?kind=%22%3E%3Cscript%3E").await;
    assert_is_page(&list);
    let list = browser.get("/ui/operations").await;
    assert_is_page(&list);
    assert!(list.text().contains("&#60;script&#62;alert(&#39;error&#39;)"), "{}", list.text());
    let one = browser.get(&format!("/ui/operations/{}", failed.id)).await;
    assert_is_page(&one);
    for place in ["type", "id", "project", "version", "error"] {
        assert!(one.text().contains(&format!("alert(&#39;{place}&#39;)")), "{place} is shown: {}", one.text());
    }
    let output = server.completed("scan", "<script>alert(1)</script>").await;
    let file = browser.get(&format!("/ui/operations/{}/output", output.id)).await;
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert!(file.header("content-disposition").starts_with("attachment"), "{file:?}");
    assert_eq!(file.text(), "<script>alert(1)</script>");
}

#[tokio::test]
async fn a_form_works_from_a_page_of_the_session_only() {
    acted_on(Server::start().await).await;
}

pub async fn acted_on(server: Server) {
    let pending = server.pending("scan").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = format!("/ui/operations/{}", pending.id);
    let cancel = format!("{page}/cancel");
    let token = browser.form_token(&page).await;
    for wrong in [String::new(), "csrf_token=".to_owned(), format!("csrf_token={token}x"), "csrf_token=AAAA".to_owned()]
    {
        let refused = browser.post(&cancel, &wrong).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{wrong}");
        assert!(refused.text().contains("open the page again"), "{wrong}");
    }
    let from_elsewhere = [("cookie", browser.cookie.as_str()), FORM, ("sec-fetch-site", "cross-site")];
    let body = format!("csrf_token={token}");
    let refused = browser.caller.send(Method::POST, &cancel, &from_elsewhere, body.clone()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let other = Browser::sign_in(&server, &server.acme().await).await;
    assert_eq!(other.post(&cancel, &body).await.status, StatusCode::FORBIDDEN, "another session's");
    assert!(browser.get(&page).await.text().contains("Pending"));

    let done = browser.post(&cancel, &body).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, page.as_str()));
    assert!(browser.get(&page).await.text().contains("Cancelled"));
    let twice = browser.post(&cancel, &body).await;
    assert!(
        twice.status.is_client_error() && twice.text().contains("only a PENDING or RUNNING operation"),
        "{twice:?}"
    );
    assert_eq!(browser.post(&format!("{page}/retry"), &body).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.post(&format!("{page}/cancel"), &body).await.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.post(&format!("{page}/delete"), &body).await.header("location"), "/ui/operations");
    assert_eq!(browser.get(&page).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_shows_what_the_api_would_answer() {
    let server = Server::start().await;
    let of_p = server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let page = format!("/ui/operations/{}", of_p.id);
    for access in [Access::organization("globex"), Access::projects("acme", ["q"])] {
        let browser = Browser::sign_in(&server, &server.caller(access, &[Scope::Admin]).await).await;
        let hidden = browser.get(&page).await;
        assert_eq!(hidden.status, StatusCode::NOT_FOUND);
        assert!(!hidden.text().contains("scan"), "{hidden:?}");
        assert!(browser.get("/ui/operations").await.text().contains("No operations yet"));
    }
    let acme = Access::organization("acme");
    let reader = Browser::sign_in(&server, &server.caller(acme.clone(), &[Scope::OperationsRead]).await).await;
    let shown = reader.get(&page).await;
    assert!(shown.text().contains("scan") && !shown.text().contains(">Cancel<"), "no button that would be refused");
    let body = format!("csrf_token={}", reader.form_token(&page).await);
    assert_eq!(reader.post(&format!("{page}/cancel"), &body).await.status, StatusCode::FORBIDDEN);
    let other = Browser::sign_in(&server, &server.caller(acme, &[Scope::EvidenceRead]).await).await;
    assert_eq!(other.get("/ui/operations").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_api_takes_the_session_of_the_page() {
    let server = Server::start().await;
    let pending = server.pending("scan").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    assert_eq!(browser.get("/v1/operations").await.ids(), [pending.id.to_string()]);
    let cancel = format!("/v1/operations/{}:cancel", pending.id);
    let refused = browser.caller.send(Method::POST, &cancel, &[("cookie", &browser.cookie)], "").await;
    assert_eq!((refused.status, refused.reason().as_str()), (StatusCode::FORBIDDEN, "CSRF_TOKEN_INVALID"));
}

#[tokio::test]
async fn a_list_has_pages_and_counts() {
    let server = Server::start().await;
    for _ in 0..30 {
        server.pending("scan").await;
    }
    server.completed("evidence_evaluation", "{}").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let rows = |answer: &Answer| answer.text().matches("data-label=\"Status\"").count();
    let first = browser.get("/ui/operations").await;
    assert_eq!(rows(&first), 25);
    assert!(first.text().contains("1–25 of 31") && first.text().contains("page=2"), "{}", first.text());
    let last = browser.get("/ui/operations?page=2").await;
    assert_eq!(rows(&last), 6);
    let pending = "/ui/operations?status=ASYNC_OPERATION_STATUS_PENDING&size=50";
    assert_eq!(rows(&browser.open(pending).await), 30);
    let beyond = browser.get("/ui/operations?page=4294967295").await;
    assert_eq!(beyond.status, StatusCode::OK);
    for odd in ["?page=-1", "?page=x", "?size=7", "?page=0"] {
        assert_eq!(rows(&browser.open(&format!("/ui/operations{odd}")).await), 25, "{odd}");
    }
    assert_eq!(browser.get("/ui/operations?status=nonsense").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(browser.get("/ui/operations/nonsense").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_not_there_is_told_on_a_page() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    for path in ["/ui/nothing", "/ui/operations/x/y/z", "/ui/operations/x/y", "/ui/bulk", "/ui/assets"] {
        let page = browser.get(path).await;
        assert_is_missing(&page);
        assert!(page.text().contains("There is no page at this address."), "{path}: {}", page.text());
    }
    assert_eq!(browser.get("/ui/").await.header("location"), "/ui");
    let unknown = "0193e1f2-0000-7000-8000-000000000000";
    let page = browser.get(&format!("/ui/operations/{unknown}")).await;
    assert_is_missing(&page);
    let told = format!(
        "There is no operation {unknown} here: it may have been removed, or belong to another organization or project."
    );
    assert!(page.text().contains(&told), "{}", page.text());
    let odd = browser.get("/ui/operations/%3Cscript%3E").await;
    assert_eq!(odd.status, StatusCode::NOT_FOUND);
    assert!(odd.text().contains("There is no operation &#60;script&#62; here"), "{}", odd.text());
    let nobody = server.nobody().get("/ui/nothing").await;
    assert_eq!((nobody.status, nobody.header("content-type")), (StatusCode::NOT_FOUND, "text/html; charset=utf-8"));
    assert!(!nobody.text().contains(NAVIGATION), "{}", nobody.text());
}

#[tokio::test]
async fn assets_are_kept_by_browsers_and_compressed() {
    let server = Server::start().await;
    let page = server.nobody().get("/ui/sign-in").await;
    let (_, rest) = page.text().split_once("rel=\"stylesheet\" href=\"").unwrap();
    let path = rest.split('"').next().unwrap();
    let plain = server.nobody().get(path).await;
    assert_eq!((plain.status, plain.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    assert!(plain.header("cache-control").contains("immutable"), "{plain:?}");
    let packed = server.nobody().send(Method::GET, path, &[("accept-encoding", "br, gzip;q=0.8")], "").await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() * 2 < plain.body.len());
    let refused = server.nobody().send(Method::GET, path, &[("accept-encoding", "gzip;q=0")], "").await;
    assert_eq!(refused.header("content-encoding"), "");
    assert_eq!(server.nobody().get("/ui/assets/x/nothing").await.status, StatusCode::NOT_FOUND);
}
