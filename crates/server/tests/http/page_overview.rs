//! The overview and the workers on the web page; links that sign in once.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, Outcome};
use server::auth::Secret;
use store::{NewToken, Pausable, STATISTICS_CONSUMER, Scope};

use crate::harness::Server;
use crate::page::{Browser, assert_is_page};
use crate::workers::at_work;

/// Counts everything that has happened.
async fn count(server: &Server) {
    for (organization, from) in server.store.uncommitted(STATISTICS_CONSUMER, "", 10).await.unwrap() {
        assert!(server.store.count_changes(&organization, from, 1_000).await.unwrap());
    }
}

#[tokio::test]
async fn each_figure_leads_to_the_list_that_it_counts() {
    let server = Server::start().await;
    server.store.begin_statistics().await.unwrap();
    server.completed("scan", "{}").await;
    let failed = Outcome::Failed { message: "no".to_owned(), retryable: false };
    server.ended(NewOperation { max_attempts: 1, ..NewOperation::of_kind("scan") }, failed).await;
    let waiting = server.pending("build").await;
    count(&server).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = browser.get("/ui").await;
    assert_is_page(&page);
    let text = page.text();
    for shown in ["Throughput", "Failures", "Waiting time", "Run time", "completed 1, failed 1", "50 % of what ended"] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    assert!(text.contains(&waiting.id.to_string()), "the oldest that wait are shown");
    // Every link to a list leads to one that has something.
    let links: Vec<&str> =
        text.split("href=\"/ui/operations?").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links.len() >= 6, "{links:?}");
    for link in links {
        let link = link.replace("&amp;", "&").replace("&#38;", "&");
        let list = browser.get(&format!("/ui/operations?{link}")).await;
        assert_is_page(&list);
        let is_running = link.contains("RUNNING");
        assert_eq!(list.text().contains("Nothing matches"), is_running, "{link}: {}", list.text());
    }
    for range in ["hour", "day", "week", "nonsense"] {
        assert_is_page(&browser.get(&format!("/ui?range={range}&kind=scan")).await);
    }
    assert!(browser.get("/ui?kind=nothing").await.text().contains("No operation ended in this time."));
}

#[tokio::test]
async fn what_has_ended_is_counted_as_its_list_has_it() {
    let server = Server::start().await;
    server.store.begin_statistics().await.unwrap();
    server.completed("scan", "{}").await;
    let deleted = server.completed("scan", "{}").await;
    count(&server).await;
    let admin = server.acme().await;
    assert_eq!(admin.delete(&format!("/v1/operations/{}", deleted.id)).await.status, StatusCode::OK);
    let browser = Browser::sign_in(&server, &admin).await;
    let page = browser.get("/ui").await;
    let tile = "Completed</span> <span class=\"figure\">1</span></a><span class=\"hint\">half ran at most ";
    assert!(page.text().contains(tile), "{}", page.text());
}

#[tokio::test]
async fn what_callers_wrote_is_shown_as_text() {
    let server = Server::start().await;
    server.store.begin_statistics().await.unwrap();
    let markup = "\"><script>alert(1)</script>";
    server.create(NewOperation::of_kind(markup)).await;
    count(&server).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    for page in ["/ui", "/ui?kind=%22%3E%3Cscript%3E", "/ui?range=%22%3E%3Cscript%3E"] {
        let shown = browser.get(page).await;
        assert_is_page(&shown);
        assert!(!shown.text().contains("<script>"), "{page}: {}", shown.text());
    }
    assert!(browser.get("/ui").await.text().contains("&#60;script&#62;alert(1)"));
}

#[tokio::test]
async fn callers_see_what_the_api_would_answer_and_no_more() {
    let server = at_work().await;
    assert!(server.store.pause(Pausable::Organization("acme".to_owned())).await.unwrap());
    let acme = || Access::organization("acme");
    let admin = Browser::sign_in(&server, &server.acme().await).await;
    let page = admin.get("/ui").await;
    assert!(page.text().contains("The organization is paused.") && page.text().contains("/ui/tokens"), "{page:?}");
    let workers = admin.get("/ui/workers").await;
    assert_is_page(&workers);
    assert!(workers.text().contains(">one</h2>") && workers.text().contains(">two</h2>"), "{}", workers.text());

    let reader = Browser::sign_in(&server, &server.caller(acme(), &[Scope::OperationsRead]).await).await;
    let page = reader.get("/ui").await;
    assert!(!page.text().contains("paused") && !page.text().contains("/ui/tokens"), "{}", page.text());
    assert!(!page.text().contains("/ui/audit"));
    let of_p = server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsRead]).await;
    let of_p = Browser::sign_in(&server, &of_p).await;
    let workers = of_p.get("/ui/workers").await;
    assert!(workers.text().contains(">one</h2>") && !workers.text().contains(">two</h2>"), "{}", workers.text());
    let other = server.caller(Access::organization("globex"), &[Scope::Admin]).await;
    let other = Browser::sign_in(&server, &other).await;
    assert!(other.get("/ui/workers").await.text().contains("one that waits for work is not"));
    let without = Browser::sign_in(&server, &server.caller(acme(), &[Scope::EvidenceRead]).await).await;
    for page in ["/ui/operations", "/ui/workers", "/ui/tokens", "/ui/audit"] {
        assert_eq!(without.get(page).await.status, StatusCode::FORBIDDEN, "{page}");
    }
    assert_eq!(without.get("/ui").await.header("location"), "/ui/evidence", "the page that it may see");
    // A token that manages organizations has pages, though no operations.
    let instance = Browser::sign_in(&server, &server.instance(&[], &[Scope::Admin]).await).await;
    assert_eq!(instance.get("/ui").await.header("location"), "/ui/audit");
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let server = Server::start().await;
    let secret = Secret::generate().unwrap();
    let token = NewToken {
        hash: secret.hash(),
        name: "dev".to_owned(),
        access: Access::organization("acme"),
        scopes: [Scope::Admin].into(),
        expires_at: None,
        instance: None,
    };
    let token = server.store.create_token(token).await.unwrap();
    let link = server.services.sign_in_links.issue(&secret);
    assert!(link.starts_with("/ui/sign-in?once=") && link.len() == "/ui/sign-in?once=".len() + 43, "{link}");
    let nobody = server.nobody();
    // A request that only looks uses nothing up.
    for (method, headers) in [(Method::HEAD, &[][..]), (Method::GET, &[("sec-purpose", "prefetch")])] {
        let looked = nobody.send(method, &link, headers, "").await;
        assert_eq!((looked.status, looked.header("set-cookie")), (StatusCode::OK, ""));
    }
    let first = nobody.get(&link).await;
    assert_eq!((first.status, first.header("location")), (StatusCode::SEE_OTHER, "/ui"), "{first:?}");
    assert_eq!(first.header("cache-control"), "no-store");
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    let browser = Browser { caller: server.nobody(), cookie };
    assert_is_page(&browser.get("/ui").await);
    for wrong in [link.as_str(), "/ui/sign-in?once=AAAA", "/ui/sign-in?once=%3Cscript%3E"] {
        let refused = nobody.get(wrong).await;
        assert_is_page(&refused);
        assert!(refused.text().contains("This link has been used"), "{wrong}");
        assert_eq!(refused.header("set-cookie"), "");
    }
    // It is no way around a revocation, nor a way to another site.
    let elsewhere = format!("{}&return_to=%2F%2Fevil.example", server.services.sign_in_links.issue(&secret));
    assert_eq!(nobody.get(&elsewhere).await.header("location"), "/ui");
    let late = server.services.sign_in_links.issue(&secret);
    server.store.revoke_token(&token.id).await.unwrap();
    let refused = async {
        while browser.get("/ui").await.status != StatusCode::SEE_OTHER {
            tokio::task::yield_now().await;
        }
        nobody.get(&late).await
    };
    let refused = tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.unwrap();
    assert_eq!((refused.status, refused.header("set-cookie")), (StatusCode::OK, ""));
}
