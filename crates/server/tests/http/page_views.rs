//! Saved views on the web page.

use http::StatusCode;
use operations::Access;
use store::Scope;

use crate::harness::Server;
use crate::page::{Browser, assert_is_page};

/// The ids of the views that a page of views can change.
pub async fn ids(browser: &Browser) -> Vec<String> {
    let page = browser.get("/ui/views").await;
    let links = page.text().split("href=\"/ui/views/").skip(1);
    links.map(|link| link.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_filter_is_saved_shown_renamed_and_deleted() {
    let server = Server::start().await;
    server.pending("scan").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let list = "/ui/operations?filter=kind+=+scan";
    let offered = browser.get(list).await;
    assert!(offered.text().contains("Save this filter"), "{}", offered.text());
    let saved = browser.send(list, "/ui/views", &[("name", "Scans <b>"), ("filter", "kind = scan")]).await;
    assert_eq!((saved.status, saved.header("location")), (StatusCode::SEE_OTHER, list));
    let shown = browser.get(list).await;
    let tab = "aria-current=\"true\">Scans &#60;b&#62; <span class=\"count\">1</span>";
    assert!(shown.text().contains(tab) && !shown.text().contains("Save this filter"), "{}", shown.text());
    let views = browser.get("/ui/views").await;
    assert_is_page(&views);
    assert!(views.text().contains("kind = scan") && views.text().contains("private"), "{}", views.text());

    let id = ids(&browser).await.remove(0);
    let page = format!("/ui/views/{id}");
    assert_is_page(&browser.get(&page).await);
    let fields = [("name", "Builds"), ("filter", "kind = build")];
    assert_eq!(browser.send(&page, &page, &fields).await.header("location"), "/ui/views");
    let views = browser.get("/ui/views").await;
    assert!(views.text().contains("Builds") && !views.text().contains("Scans"), "{}", views.text());
    let deleted = browser.send(&page, &format!("{page}/delete"), &[]).await;
    assert_eq!(deleted.header("location"), "/ui/views");
    assert!(browser.get("/ui/views").await.text().contains("No views yet"));
}

#[tokio::test]
async fn what_is_refused_is_told_at_its_field_and_kept() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let here = "/ui/views";
    browser.send(here, here, &[("name", "taken"), ("filter", ""), ("visibility", "shared")]).await;
    for (fields, says) in [
        ([("name", "taken"), ("filter", "kind = scan"), ("visibility", "shared")], "is the name of another view"),
        ([("name", "new"), ("filter", "colour = red"), ("visibility", "")], "at character 1"),
        ([("name", ""), ("filter", "kind = scan"), ("visibility", "")], "must be 1 to 128 bytes"),
        ([("name", "new"), ("filter", "\"><script>"), ("visibility", "")], "at character 1"),
    ] {
        let refused = browser.send(here, here, &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{fields:?}");
        assert!(refused.text().contains(says), "{fields:?}: {}", refused.text());
        let kept = fields[1].1.replace('"', "&#34;").replace('>', "&#62;").replace('<', "&#60;");
        assert!(refused.text().contains(&format!("value=\"{kept}\"")), "{fields:?}: {}", refused.text());
    }
    let page = format!("{here}/{}", ids(&browser).await.remove(0));
    let refused = browser.send(&page, &page, &[("name", "taken"), ("filter", "kind =")]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text().contains("value=\"kind =\""), "{}", refused.text());
}

#[tokio::test]
async fn who_may_not_share_is_offered_nothing_and_refused() {
    let server = Server::start().await;
    let acme = server.acme().await;
    let owner = Browser::sign_in(&server, &acme).await;
    owner.send("/ui/views", "/ui/views", &[("name", "ours"), ("visibility", "shared")]).await;
    owner.send("/ui/views", "/ui/views", &[("name", "mine")]).await;
    let [ours, mine]: [String; 2] = ids(&owner).await.try_into().unwrap();
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    let page = reader.get("/ui/views").await;
    assert!(page.text().contains("ours") && !page.text().contains("mine") && !page.text().contains("Shared in"));
    assert_eq!(ids(&reader).await, Vec::<String>::new(), "no button that would be refused");
    let shared = [("name", "x"), ("visibility", "shared")];
    assert_eq!(reader.send("/ui/views", "/ui/views", &shared).await.status, StatusCode::FORBIDDEN);
    let stranger =
        Browser::sign_in(&server, &server.caller(Access::organization("globex"), &[Scope::Admin]).await).await;
    for (browser, id, status) in [
        (&reader, &ours, StatusCode::FORBIDDEN),
        (&reader, &mine, StatusCode::NOT_FOUND),
        (&stranger, &ours, StatusCode::NOT_FOUND),
        (&stranger, &mine, StatusCode::NOT_FOUND),
    ] {
        let page = format!("/ui/views/{id}");
        assert_eq!(browser.send("/ui/views", &page, &[("name", "x")]).await.status, status);
        assert_eq!(browser.send("/ui/views", &format!("{page}/delete"), &[]).await.status, status);
    }
    // It has its own all the same.
    let own = reader.send("/ui/views", "/ui/views", &[("name", "own")]).await;
    assert_eq!(own.status, StatusCode::SEE_OTHER);
    for path in ["/ui/views", &format!("/ui/views/{mine}"), &format!("/ui/views/{mine}/delete")] {
        assert_eq!(owner.post(path, "name=x").await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(ids(&owner).await, [ours, mine]);
}
