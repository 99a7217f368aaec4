//! The same for many operations, on the web page.

use http::StatusCode;
use operations::{Access, NewOperation, Outcome, Status};
use store::Scope;

use crate::harness::{Answer, Server};
use crate::page::{Browser, assert_is_page, form};

const LIST: &str = "/ui/operations";

/// What the form of a page sends back when its button is pressed.
fn confirmed(page: &Answer) -> String {
    let (_, form) = page.text().split_once("action=\"/ui/bulk\"").unwrap();
    let inputs = form.split("</form>").next().unwrap().split("<input type=\"hidden\" ").skip(1);
    let fields: Vec<(String, String)> = inputs
        .map(|input| {
            let part = |name: &str| {
                let (_, rest) = input.split_once(&format!("{name}=\"")).unwrap();
                rest.split('"').next().unwrap().replace("&#34;", "\"").replace("&#62;", ">")
            };
            (part("name"), part("value"))
        })
        .collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    self::form(&fields)
}

/// The input of the bulk operation that an answer leads to.
async fn begun(server: &Server, answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
    let id = answer.header("location").strip_prefix("/ui/operations/").unwrap().parse().unwrap();
    let detail = server.store.detail(&Access::organization("acme"), id).await.unwrap().unwrap();
    assert_eq!((detail.operation.kind.as_str(), detail.operation.status), ("bulk", Status::Pending));
    detail.input
}

#[tokio::test]
async fn what_was_ticked_is_asked_about_and_then_done_once() {
    let server = Server::start().await;
    let (one, two, other) = (server.pending("scan").await, server.pending("scan").await, server.pending("scan").await);
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let ids = [one.id.to_string(), two.id.to_string()];
    let fields = [("action", "cancel"), ("filter", ""), ("id", &*ids[0]), ("id", &*ids[1])];
    let page = browser.send(LIST, "/ui/bulk", &fields).await;
    assert_is_page(&page);
    assert!(page.text().contains("Cancel 2 operations?"), "{}", page.text());
    assert_eq!(browser.get("/v1/operations?kind=bulk").await.ids(), Vec::<String>::new(), "nothing was done yet");
    let sent = confirmed(&page);
    let answer = browser.post("/ui/bulk", &sent).await;
    let input = begun(&server, &answer).await;
    assert!(ids.iter().all(|id| input.contains(id)) && !input.contains(&other.id.to_string()), "{input}");
    let again = browser.post("/ui/bulk", &sent).await;
    assert_eq!(again.header("location"), answer.header("location"), "a form that is sent twice");
}

#[tokio::test]
async fn all_that_match_are_counted_and_counted_again() {
    let server = Server::start().await;
    for _ in 0..3 {
        let outcome = Outcome::Failed { message: "broken".to_owned(), retryable: false };
        server.ended(NewOperation::of_kind("scan"), outcome).await;
    }
    server.pending("scan").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let filter = "kind = scan AND created_at >= \"-1h\"";
    let fields = [("action", "retry"), ("filter", filter), ("all", "4")];
    let page = browser.send(LIST, "/ui/bulk", &fields).await;
    assert_is_page(&page);
    let says =
        ["Retry 4 operations?", "<strong>3</strong> of them are failed now", "kind = scan AND created_at &#62;="];
    assert!(says.iter().all(|says| page.text().contains(says)), "{}", page.text());
    let sent = confirmed(&page);
    for _ in 0..2 {
        server.pending("scan").await;
    }
    let changed = browser.post("/ui/bulk", &sent).await;
    assert_eq!(changed.status, StatusCode::CONFLICT);
    let says = ["6 operations match now; there were 4", "Retry 6 operations?"];
    assert!(says.iter().all(|says| changed.text().contains(says)), "{}", changed.text());
    let input = begun(&server, &browser.post("/ui/bulk", &confirmed(&changed)).await).await;
    assert!(input.contains("\"retry\"") && input.contains("scan"), "{input}");
    // Without a filter, all operations.
    let page = browser.send(LIST, "/ui/bulk", &[("action", "delete"), ("filter", ""), ("all", "6")]).await;
    assert!(page.text().contains("Delete 6 operations?"), "no bulk operation is among them: {}", page.text());
    begun(&server, &browser.post("/ui/bulk", &confirmed(&page)).await).await;
}

#[tokio::test]
async fn what_is_not_asked_for_properly_is_told_and_nothing_is_done() {
    let server = Server::start().await;
    server.pending("scan").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    for (fields, says) in [
        (vec![("action", "cancel")], "Nothing was selected"),
        (vec![("action", "explode"), ("all", "1")], "Choose an action"),
        (vec![("action", "cancel"), ("id", "x\"><script>")], "of a selected operation is not valid"),
        (vec![("action", "cancel"), ("all", "1"), ("filter", "\"><script>")], "at character 1"),
    ] {
        for confirmed in [vec![], vec![("confirmed", "yes")]] {
            let refused = browser.send(LIST, "/ui/bulk", &[fields.clone(), confirmed].concat()).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{fields:?}");
            let text = refused.text();
            assert!(text.contains(says) && !text.contains("<script>"), "{fields:?}: {text}");
        }
    }
    assert_eq!(browser.post("/ui/bulk", "action=cancel&all=1&confirmed=yes").await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/v1/operations?kind=bulk").await.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn nobody_acts_on_what_is_not_theirs() {
    let server = Server::start().await;
    let ours = server.create(NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") }).await;
    let id = ours.id.to_string();
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    assert!(!reader.get(LIST).await.text().contains("/ui/bulk"), "no button that would be refused");
    for fields in [[("action", "cancel"), ("id", &*id)], [("action", "cancel"), ("all", "1")]] {
        assert_eq!(reader.send(LIST, "/ui/bulk", &fields).await.status, StatusCode::FORBIDDEN);
    }
    for access in [Access::organization("globex"), Access::projects("acme", ["q"])] {
        let stranger = Browser::sign_in(&server, &server.caller(access, &[Scope::Admin]).await).await;
        for fields in [[("action", "cancel"), ("id", &*id)], [("action", "cancel"), ("all", "1")]] {
            let page = stranger.send(LIST, "/ui/bulk", &fields).await;
            assert!(page.text().contains("Cancel 0 operations?"), "{}", page.text());
            assert!(!page.text().contains("name=\"confirmed\""), "there is nothing to confirm");
        }
    }
}
