//! Tokens, the audit log and evidence on the web page.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome, Resource};
use store::Scope;

use crate::harness::{Answer, Caller, Server};
use crate::page::{Browser, assert_is_missing, assert_is_page};

/// The secret that a page shows.
fn secret(page: &Answer) -> String {
    assert_eq!(page.header("cache-control"), "no-store", "nobody keeps it");
    let (_, rest) = page.text().split_once("<code id=\"secret\">").unwrap_or_else(|| panic!("{}", page.text()));
    rest.split('<').next().unwrap().to_owned()
}

fn holder(server: &Server, secret: &str) -> Caller {
    Caller { address: server.address, authorization: Some(format!("Bearer {secret}")) }
}

/// The id of the token of this name, from the API.
async fn id(admin: &Caller, name: &str) -> String {
    let tokens = admin.get("/v1/tokens").await.json();
    let found = tokens["tokens"].as_array().unwrap().iter().find(|token| token["name"] == name).cloned();
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_made_replaced_and_revoked() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let browser = Browser::sign_in(&server, &admin).await;
    assert_is_page(&browser.get("/ui/tokens").await);
    let fields = [("name", "ci <b>"), ("scope", "operations:read"), ("projects", "p, q"), ("expires_in", "604800")];
    let made = browser.send("/ui/tokens", "/ui/tokens", &fields).await;
    assert_is_page(&made);
    assert!(made.text().contains("ci &#60;b&#62;") && !made.text().contains("ci <b>"), "{}", made.text());
    let first = secret(&made);
    assert_eq!(holder(&server, &first).get("/v1/operations").await.status, StatusCode::OK);
    let id = id(&admin, "ci <b>").await;
    let token = admin.get(&format!("/v1/tokens/{id}")).await.json()["token"].clone();
    assert_eq!(
        (&token["scopes"], &token["projects"]),
        (&serde_json::json!(["operations:read"]), &serde_json::json!(["p", "q"]))
    );
    assert!(token["expires_at"].is_string());
    let again = browser.get("/ui/tokens").await;
    assert!(!again.text().contains(&first) && !again.text().contains("id=\"secret\""), "it is shown once");

    let rotated = browser.send("/ui/tokens", &format!("/ui/tokens/{id}/rotate"), &[("overlap", "3600")]).await;
    let second = secret(&rotated);
    assert_ne!(first, second);
    for valid in [&first, &second] {
        assert_eq!(holder(&server, valid).get("/v1/operations").await.status, StatusCode::OK);
    }
    let revoked = browser.send("/ui/tokens", &format!("/ui/tokens/{id}/revoke"), &[]).await;
    assert_eq!((revoked.status, revoked.header("location")), (StatusCode::SEE_OTHER, "/ui/tokens"));
    let token = admin.get(&format!("/v1/tokens/{id}")).await.json();
    assert_eq!(token["token"]["state"], "revoked");
    assert_eq!(browser.send("/ui/tokens", &format!("/ui/tokens/{id}/burn"), &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_is_told_at_its_field_and_what_was_typed_stays() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let browser = Browser::sign_in(&server, &admin).await;
    let before = admin.get("/v1/tokens").await.json()["tokens"].as_array().unwrap().len();
    let fields = [("name", ""), ("projects", "shop billing"), ("expires_in", "0")];
    let refused = browser.send("/ui/tokens", "/ui/tokens", &fields).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    for shown in ["id=\"name-problem\"", "id=\"scopes-problem\"", "value=\"shop billing\"", "value=\"0\" selected"] {
        assert!(refused.text().contains(shown), "{shown} in {}", refused.text());
    }
    let odd = [("name", "\"><script>alert(1)</script>"), ("scope", "<script>"), ("projects", "<script>")];
    let refused = browser.send("/ui/tokens", "/ui/tokens", &odd).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(!refused.text().contains("<script>"), "{}", refused.text());
    assert_eq!(admin.get("/v1/tokens").await.json()["tokens"].as_array().unwrap().len(), before);
}

#[tokio::test]
async fn tokens_are_for_those_who_manage_them_and_forms_for_the_own_page() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let browser = Browser::sign_in(&server, &admin).await;
    let theirs = server.caller_and_token(Access::organization("globex"), &[Scope::OperationsRead]).await.1;
    for (path, body) in [
        ("/ui/tokens".to_owned(), "name=x&scope=admin"),
        (format!("/ui/tokens/{}/revoke", theirs.id), ""),
        (format!("/ui/tokens/{}/rotate", theirs.id), "overlap=0"),
        ("/ui/sessions/ses_0/revoke".to_owned(), ""),
    ] {
        for token in ["", "csrf_token=AAAA&"] {
            let refused = browser.post(&path, &format!("{token}{body}")).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path} {token}");
        }
        let nobody = server.nobody().send(Method::POST, &path, &[crate::page::FORM], body).await;
        assert_eq!(nobody.status, StatusCode::SEE_OTHER, "{path}: to sign in");
    }
    for action in ["revoke", "rotate"] {
        let path = format!("/ui/tokens/{}/{action}", theirs.id);
        let refused = browser.send("/ui/tokens", &path, &[]).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "another organization's: {path}");
    }
    let page = browser.get("/ui/tokens").await;
    assert!(!page.text().contains(&theirs.id));
    let writer = server.caller(Access::organization("acme"), &[Scope::OperationsWrite, Scope::OperationsRead]).await;
    let writer = Browser::sign_in(&server, &writer).await;
    assert_eq!(writer.get("/ui/tokens").await.status, StatusCode::FORBIDDEN);
    let tried = writer.send("/ui", "/ui/tokens", &[("name", "x"), ("scope", "admin")]).await;
    assert_eq!(tried.status, StatusCode::FORBIDDEN);
    // A token that manages the tokens of a project gives no more than that.
    let of_p = Browser::sign_in(&server, &server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await).await;
    let tried = of_p.send("/ui/tokens", "/ui/tokens", &[("name", "x"), ("scope", "operations:read")]).await;
    assert!(tried.status.is_client_error(), "{}", tried.text());
}

#[tokio::test]
async fn the_audit_log_has_pages_and_a_filter() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let browser = Browser::sign_in(&server, &admin).await;
    assert!(browser.get("/ui/audit").await.text().contains("Nothing is recorded yet"));
    for _ in 0..60 {
        assert_eq!(admin.post("/v1/operations", r#"{"kind":"scan"}"#).await.status, StatusCode::OK);
    }
    assert_eq!(admin.post("/v1/views", r#"{"name":"all"}"#).await.status, StatusCode::OK);
    let rows = |page: &Answer| page.text().matches("data-label=\"When\"").count();
    let first = browser.get("/ui/audit").await;
    assert_is_page(&first);
    assert_eq!(rows(&first), 50);
    assert!(first.text().find("views.create") < first.text().find("operations.create"), "newest first");
    let (_, next) = first.text().split_once("rel=\"next\" href=\"").unwrap();
    let next = next.split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(rows(&browser.get(&next).await), 11);
    let only = browser.get("/ui/audit?action=views.").await;
    assert_eq!(rows(&only), 1);
    assert!(browser.get("/ui/audit?action=nothing").await.text().contains("Nothing matches"));
    let wrong = browser.get("/ui/audit?since=%3Cscript%3E").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("must be a time such as") && !wrong.text().contains("<script>"), "{}", wrong.text());
    let of_p = Browser::sign_in(&server, &server.caller(Access::projects("acme", ["p"]), &[Scope::Admin]).await).await;
    assert_eq!(of_p.get("/ui/audit").await.status, StatusCode::FORBIDDEN, "it tells of all projects");
    assert!(!of_p.get("/ui").await.text().contains("/ui/audit"));
}

/// An evaluation of this evidence that has found these messages.
async fn evaluated(server: &Server, digest: &str, messages: &[&str]) {
    let violations: Vec<_> = messages.iter().map(|message| serde_json::json!({"message": message})).collect();
    let status = if messages.is_empty() { "passed" } else { "failed" };
    let output = serde_json::json!({
        "status": status, "evidence": {"name": "sbom <b>"},
        "policies": [{"name": "licences", "status": status, "violations": violations}],
    });
    let resource = Resource { resource_type: "evidence".to_owned(), resource_id: digest.to_owned() };
    let operation = NewOperation { resource: Some(resource), ..NewOperation::of_kind("evidence_evaluation") };
    server.ended(operation, Outcome::Completed { output: output.to_string() }).await;
}

#[tokio::test]
async fn evidence_tells_what_its_last_verdict_has_that_the_one_before_had_not() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let stored = admin.send(Method::POST, "/v1/evidence", &[], "evidence").await.json();
    let digest = stored["digest"].as_str().unwrap();
    let path = format!("/ui/evidence/{digest}");
    let browser = Browser::sign_in(&server, &admin).await;
    let page = browser.get(&path).await;
    assert_is_page(&page);
    assert!(page.text().contains("Not evaluated yet") && page.text().contains("8 bytes"), "{}", page.text());
    evaluated(&server, digest, &["a was found", "b was found"]).await;
    evaluated(&server, digest, &["b was found", "<script>alert(1)</script>"]).await;
    let page = browser.get(&path).await;
    assert_is_page(&page);
    let text = page.text();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} in {text}"));
    let order = [
        "> New",
        "&#60;script&#62;alert(1)",
        "> Gone",
        "a was found",
        "> Still there",
        "b was found",
        "sbom &#60;b&#62;",
    ];
    assert!(order.map(at).is_sorted(), "{text}");
    let file = browser.get(&format!("/v1/evidence/{digest}")).await;
    assert_eq!(file.text(), "evidence", "it can be fetched with the session");

    let nonsense = browser.get("/ui/evidence/nonsense").await;
    assert_is_missing(&nonsense);
    assert!(nonsense.text().contains("There is no evidence nonsense here"), "{}", nonsense.text());
    let acme = || Access::organization("acme");
    let operations = server.caller(acme(), &[Scope::OperationsRead]).await;
    assert_eq!(Browser::sign_in(&server, &operations).await.get(&path).await.status, StatusCode::FORBIDDEN);
    let evidence = Browser::sign_in(&server, &server.caller(acme(), &[Scope::EvidenceRead]).await).await;
    let page = evidence.get(&path).await;
    assert_is_page(&page);
    assert!(!page.text().contains("verdict") && !page.text().contains("Evaluations"), "{}", page.text());
}

#[tokio::test]
async fn evidence_is_listed_and_its_waivers_can_be_made_and_removed() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let browser = Browser::sign_in(&server, &admin).await;
    let empty = browser.get("/ui/evidence").await;
    assert_is_page(&empty);
    assert!(empty.text().contains("Nothing is stored yet"), "{}", empty.text());
    let stored = admin.send(Method::POST, "/v1/evidence?name=app%20%3Cb%3E", &[], "evidence").await.json();
    let digest = stored["digest"].as_str().unwrap();
    evaluated(&server, digest, &["a was found"]).await;
    let list = browser.get("/ui/evidence").await;
    assert_is_page(&list);
    let link = format!("href=\"/ui/evidence/{digest}\"");
    for part in ["app &#60;b&#62;", "failed", "8 bytes", "<strong>1</strong> stored", &link] {
        assert!(list.text().contains(part), "{part} in {}", list.text());
    }
    assert!(browser.get("/ui/evidence?name=app+%3Cb%3E").await.text().contains(&link));
    assert!(browser.get("/ui/evidence?name=other").await.text().contains("Nothing matches"));
    assert_eq!(browser.get("/ui/evidence?page_token=x").await.status, StatusCode::BAD_REQUEST);

    let waivers = browser.get("/ui/waivers").await;
    assert_is_page(&waivers);
    assert!(waivers.text().contains("Nothing is waived"), "{}", waivers.text());
    let fields = [("policy", "licences"), ("finding", "a was found"), ("reason", "bought <b>"), ("days", "30")];
    let made = browser.send("/ui/waivers", "/ui/waivers", &fields).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::SEE_OTHER, "/ui/waivers"));
    let page = browser.get("/ui/waivers").await;
    assert!(page.text().contains("bought &#60;b&#62;") && page.text().contains("a was found"), "{}", page.text());
    let without_reason = browser.send("/ui/waivers", "/ui/waivers", &[("policy", "licences"), ("days", "0")]).await;
    assert_eq!(without_reason.status, StatusCode::BAD_REQUEST);
    assert!(without_reason.text().contains("must not be empty") && without_reason.text().contains("above 0s"));
    assert_eq!(browser.post("/ui/waivers", "policy=p&reason=r").await.status, StatusCode::FORBIDDEN, "no form's token");
    let id = admin.get("/v1/waivers").await.json()["waivers"][0]["id"].as_str().unwrap().to_owned();

    let reader = server.caller(Access::organization("acme"), &[Scope::EvidenceRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    let seen = reader.get("/ui/waivers").await;
    assert!(seen.text().contains("bought") && !seen.text().contains("New waiver"), "{}", seen.text());
    let one_project =
        Access { projects: operations::Projects::Only(["p".to_owned()].into()), ..Access::organization("acme") };
    let of_p =
        Browser::sign_in(&server, &server.caller(one_project, &[Scope::EvidenceRead, Scope::OperationsRead]).await)
            .await;
    assert_eq!(of_p.get("/ui/evidence").await.status, StatusCode::FORBIDDEN, "it tells of all projects");
    assert_eq!(of_p.get("/ui/waivers").await.status, StatusCode::FORBIDDEN);
    assert!(!of_p.get("/ui").await.text().contains("/ui/evidence\""), "what cannot be seen is not in the navigation");

    let removed = browser.send("/ui/waivers", &format!("/ui/waivers/{id}/remove"), &[]).await;
    assert_eq!((removed.status, removed.header("location")), (StatusCode::SEE_OTHER, "/ui/waivers"));
    assert!(browser.get("/ui/waivers").await.text().contains("Nothing is waived"));
}
