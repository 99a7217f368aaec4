//! One operation on the web page: everything that is known of it, and trying again with another input.

use std::time::Duration;

use http::StatusCode;
use operations::{Access, Concurrency, NewOperation, Outcome, Resource, Status};
use store::Scope;

use crate::harness::Server;
use crate::page::{Browser, assert_is_page};

fn markup(place: &str) -> String {
    format!("\"><script>alert('{place}')</script>")
}

fn failed() -> Outcome {
    Outcome::Failed { message: "broken".to_owned(), retryable: false }
}

#[tokio::test]
async fn everything_that_is_known_is_shown_and_leads_on() {
    shown_and_leading_on(Server::start().await).await;
}

pub async fn shown_and_leading_on(server: Server) {
    let new = NewOperation {
        input: "{\"target\":\"web-1\",\"n\":1.000}".to_owned(),
        project_id: "shop".to_owned(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        unique_key: Some("deploy 7".to_owned()),
        concurrency: Some(Concurrency { key: "deploy:prod".to_owned(), limit: 2 }),
        priority: 7,
        timeout: Some(Duration::from_secs(90)),
        schedule: Some("nightly".to_owned()),
        max_attempts: 3,
        ..NewOperation::of_kind("scan")
    };
    let operation = server.ended(new, Outcome::Completed { output: "{\"found\":[1,2]}".to_owned() }).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = browser.get(&format!("/ui/operations/{}", operation.id)).await;
    assert_is_page(&page);
    for shown in [
        "&#34;n&#34;: 1.000",
        "&#34;found&#34;: [",
        "href=\"/ui/operations?filter=project_id+=+shop\"",
        "href=\"/ui/operations?filter=labels.team+=+blue\">team=blue",
        "href=\"/ui/operations?filter=unique_key+=+%22deploy+7%22\">deploy 7",
        "href=\"/ui/schedules/nightly\"",
        "deploy:prod (at most 2 at a time)",
        "1 of 3",
        "1 min 30 s",
        "<dt>Priority</dt><dd>7</dd>",
        "worker+=+test",
        "longrun operations create --kind scan --project-id &#39;shop&#39;",
        "--input &#39;{&#34;target&#34;:&#34;web-1&#34;,&#34;n&#34;:1.000}&#39;",
    ] {
        assert!(page.text().contains(shown), "{shown}: {}", page.text());
    }
    let file = browser.get(&format!("/ui/operations/{}/input", operation.id)).await;
    assert_eq!(
        (file.text(), file.header("content-type")),
        ("{\"target\":\"web-1\",\"n\":1.000}", "application/octet-stream")
    );
    for link in ["filter=labels.team+=+blue", "filter=unique_key+=+%22deploy+7%22"] {
        let list = browser.get(&format!("/ui/operations?{link}")).await;
        assert!(list.text().contains(&operation.id.to_string()), "{link}");
    }
}

#[tokio::test]
async fn what_is_about_the_same_resource_is_shown_as_lists_show_it() {
    related(Server::start().await).await;
}

pub async fn related(server: Server) {
    let about = |resource_id: &str| NewOperation {
        resource: Some(Resource { resource_type: "repo".to_owned(), resource_id: resource_id.to_owned() }),
        ..NewOperation::of_kind("scan")
    };
    let at = server.store.now().after(Duration::from_secs(3 * 24 * 3600));
    let first = server.create(about("a \"b\"")).await;
    let later = server.create(NewOperation { run_after: Some(at), ..about("a \"b\"") }).await;
    let other = server.create(about("a")).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = browser.get(&format!("/ui/operations/{}", first.id)).await;
    assert_is_page(&page);
    let (_, related) = page.text().split_once("<h2>Other operations about this resource</h2>").unwrap();
    let related = related.split("</section>").next().unwrap();
    let told = format!("not before <time class=\"clock\" datetime=\"{at}\"");
    assert!(related.contains(&later.id.to_string()) && related.contains(&told), "{related}");
    for left_out in [first.id, other.id] {
        assert!(!related.contains(&left_out.to_string()), "{left_out}: {related}");
    }
}

#[tokio::test]
async fn what_creators_wrote_is_shown_as_text() {
    let server = Server::start().await;
    let new = NewOperation {
        input: serde_json::to_string(&markup("input")).unwrap(),
        labels: [("team".to_owned(), markup("label"))].into(),
        unique_key: Some(markup("unique")),
        concurrency: Some(Concurrency { key: markup("concurrency"), limit: 1 }),
        ..NewOperation::of_kind("scan")
    };
    let operation = server.ended(new, failed()).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = format!("/ui/operations/{}", operation.id);
    for path in [page.clone(), format!("{page}/retry"), "/ui/operations".to_owned()] {
        let shown = browser.get(&path).await;
        assert_is_page(&shown);
        assert!(!shown.text().contains("<script>alert"), "{path}: {}", shown.text());
    }
    let shown = browser.get(&page).await;
    for place in ["input", "label", "unique", "concurrency"] {
        assert!(shown.text().contains(&format!("alert(&#39;{place}&#39;)")), "{place}: {}", shown.text());
    }
}

#[tokio::test]
async fn an_edited_input_makes_a_new_operation_and_both_are_linked() {
    retried_with_an_edited_input(Server::start().await).await;
}

pub async fn retried_with_an_edited_input(server: Server) {
    let new = NewOperation { input: "{\"target\":\"web-1\"}".to_owned(), ..NewOperation::of_kind("scan") };
    let old = server.ended(new, failed()).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = format!("/ui/operations/{}", old.id);
    let edit = format!("{page}/retry");
    assert!(browser.get(&page).await.text().contains(&format!("href=\"{edit}\"")));
    let shown = browser.get(&edit).await;
    assert_is_page(&shown);
    assert!(shown.text().contains("{\n  &#34;target&#34;: &#34;web-1&#34;\n}</textarea>"), "{}", shown.text());
    for (typed, says) in [
        ("{\"target\": </textarea><script>", "is not JSON"),
        ("", "is not JSON"),
        ("{\"a\":1,\"a\":2}", "more than once"),
    ] {
        let refused = browser.send(&edit, &edit, &[("input", typed)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{typed}");
        let kept = typed.replace('"', "&#34;").replace('<', "&#60;").replace('>', "&#62;");
        let text = refused.text();
        assert!(text.contains(says) && text.contains(&format!("{kept}</textarea>")), "{typed}: {text}");
        assert!(text.contains("aria-invalid=\"true\" aria-describedby=\"input-wrong\""), "{text}");
    }
    let fields = [("input", "{\"target\": \"web-2\"}"), ("key", "k")];
    let made = browser.send(&edit, &edit, &fields).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{made:?}");
    let new_page = made.header("location").to_owned();
    assert_ne!(new_page, page);
    assert_eq!(browser.send(&edit, &edit, &fields).await.header("location"), new_page, "a form that is sent twice");
    let new = browser.get(&new_page).await;
    assert!(new.text().contains("web-2") && new.text().contains(&format!("This operation repeats <a href=\"{page}\"")));
    let old = browser.get(&page).await;
    assert!(old.text().contains(&format!("href=\"{new_page}\"")), "{}", old.text());
    // Without an input the same operation is tried again.
    assert_eq!(browser.send(&page, &edit, &[]).await.header("location"), page);
}

#[tokio::test]
async fn nobody_edits_what_is_not_theirs() {
    let server = Server::start().await;
    let new = NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") };
    let old = server.ended(new, failed()).await;
    let edit = format!("/ui/operations/{}/retry", old.id);
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    let page = reader.get(&format!("/ui/operations/{}", old.id)).await;
    assert!(!page.text().contains(&edit), "no button that would be refused");
    let fields = [("input", "{}")];
    assert_eq!(reader.send("/ui/operations", &edit, &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(reader.post(&edit, "input=%7B%7D").await.status, StatusCode::FORBIDDEN);
    for access in [Access::organization("globex"), Access::projects("acme", ["q"])] {
        let stranger = Browser::sign_in(&server, &server.caller(access, &[Scope::Admin]).await).await;
        for path in [&edit, &format!("/ui/operations/{}/input", old.id)] {
            assert_eq!(stranger.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        for fields in [&fields[..], &[], &[("input", "{")]] {
            let refused = stranger.send("/ui/operations", &edit, fields).await;
            assert_eq!(refused.status, StatusCode::NOT_FOUND, "{fields:?}: {refused:?}");
        }
    }
    let found =
        server.store.list(&Access::organization("acme"), &Default::default(), Default::default()).await.unwrap();
    assert_eq!(found.entries.len(), 1, "nothing was made");
    assert_eq!(found.entries[0].operation.status, Status::Failed);
}

#[tokio::test]
async fn what_is_waived_is_told_apart_from_what_is_open() {
    let server = Server::start().await;
    let output = serde_json::json!({
        "status": "failed", "evidence": {"name": "sbom", "kind": "SBOM_CYCLONEDX_JSON"},
        "policies": [
            {"name": "licences", "status": "failed", "violations": [
                {"message": "an open one"},
                {"message": "a waived one", "waived": {"id": "w", "reason": "bought <b>"}},
                {"message": "one of a VEX", "waived": {"reason": "r", "vex": {"statement": "not affected"}}},
            ]},
            {"name": "ceiling", "status": "passed", "violations": [{"message": "m", "waived": {"reason": "known"}}]},
        ],
    });
    let new = NewOperation::of_kind("evidence_evaluation");
    let operation = server.ended(new, Outcome::Completed { output: output.to_string() }).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let page = browser.get(&format!("/ui/operations/{}", operation.id)).await;
    assert_is_page(&page);
    let verdict = page.text().split("Policies and their results").nth(1).unwrap();
    let verdict = verdict.split("</table>").next().unwrap();
    for shown in [
        "<ul><li>an open one</li></ul>",
        "<p class=\"hint\">waived: a waived one (bought &#60;b&#62;)</p>",
        "<p class=\"hint\">waived: one of a VEX (not affected)</p>",
        "<p class=\"hint\">waived: m (known)</p>",
    ] {
        assert!(verdict.contains(shown), "{shown}: {verdict}");
    }
    assert_eq!(verdict.matches("<li>").count(), 1, "{verdict}");
}

#[tokio::test]
async fn a_bulk_operation_tells_how_far_it_is_and_what_came_of_it() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    server.pending("scan").await;
    let asked = [("action", "delete"), ("all", "1"), ("filter", "kind = scan"), ("confirmed", "yes")];
    let begun = browser.send("/ui/operations", "/ui/bulk", &asked).await;
    let page = begun.header("location").to_owned();
    let waiting = browser.get(&page).await;
    assert!(
        waiting.text().contains("Delete all operations that match")
            && waiting.text().contains("It has not started yet")
    );
    let claimed = server.claim("bulk").await;
    let heartbeat =
        store::Heartbeat { lease: claimed.lease.clone(), progress: Some("1 of 3 done, 1 refused".to_owned()) };
    server.store.heartbeat(vec![heartbeat], Duration::from_secs(60)).await.unwrap();
    let running = browser.get(&page).await;
    assert!(running.text().contains("<progress value=\"1\" max=\"3\""), "{}", running.text());
    let refusal = format!("{{\"id\":\"{}\",\"reason\":\"<b>it runs</b>\"}}", claimed.operation.id);
    let output = format!(
        "{{\"action\":\"delete\",\"matched\":1200,\"deleted\":1199,\"refused\":{{\"<b>it runs</b>\":1}},\"refusals\":[{refusal}]}}"
    );
    server.settle(claimed, Outcome::Completed { output }).await;
    let done = browser.get(&page).await;
    assert_is_page(&done);
    for shown in ["<td class=\"number\">1,199</td>", "refused: &#60;b&#62;it runs", "1,200"] {
        assert!(done.text().contains(shown), "{shown}: {}", done.text());
    }
}
