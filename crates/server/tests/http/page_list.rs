//! The list of the web page: its filter, counts and pages.

use std::time::Duration;

use http::StatusCode;
use operations::{Access, NewOperation, Outcome, Resource};
use store::Scope;

use crate::harness::{Answer, Server};
use crate::page::{Browser, assert_is_page, form};

async fn stocked() -> Server {
    let server = Server::start().await;
    stock(&server).await;
    server
}

/// Operations of acme: 3 scans that wait, 2 that failed, a build of the project p that is completed and has labels.
pub async fn stock(server: &Server) {
    for _ in 0..2 {
        let outcome = Outcome::Failed { message: "refused".to_owned(), retryable: false };
        server.ended(NewOperation::of_kind("scan"), outcome).await;
    }
    for _ in 0..3 {
        server.pending("scan").await;
    }
    let build = NewOperation {
        project_id: "p".to_owned(),
        labels: [("team".to_owned(), "blue & green".to_owned())].into(),
        resource: Some(Resource { resource_type: "repo".to_owned(), resource_id: "a:b".to_owned() }),
        ..NewOperation::of_kind("build")
    };
    server.ended(build, Outcome::Completed { output: "{}".to_owned() }).await;
}

fn rows(answer: &Answer) -> usize {
    answer.text().matches("data-label=\"Status\"").count()
}

/// The names and numbers of the tabs.
fn tabs(answer: &Answer) -> Vec<String> {
    let (_, rest) = answer.text().split_once("<nav class=\"tabs\"").unwrap();
    let tabs = rest.split("</nav>").next().unwrap().split("<span class=\"count\">").skip(1);
    tabs.map(|tab| tab.split('<').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_fields_of_the_bar_lead_to_one_address() {
    filtered(&stocked().await).await;
}

pub async fn filtered(server: &Server) {
    let browser = Browser::sign_in(server, &server.acme().await).await;
    for (fields, address, count) in [
        (
            vec![("status", "PENDING"), ("status", "FAILED"), ("kind", ""), ("size", "25"), ("filter", "")],
            "/ui/operations?filter=status+=+(PENDING+OR+FAILED)",
            5,
        ),
        (
            vec![("kind", "scan"), ("kind", "build"), ("project", "p")],
            "/ui/operations?filter=kind+=+(build+OR+scan)+AND+project_id+=+p",
            1,
        ),
        (
            vec![("since", "1h"), ("size", "50"), ("status", "COMPLETED")],
            "/ui/operations?filter=status+=+COMPLETED+AND+created_at+%3E=+%22-1h%22&size=50",
            1,
        ),
        (
            vec![("since", ""), ("from", "2001-01-01T00:00"), ("to", "2002-01-01T00:00")],
            "/ui/operations?filter=created_at+%3E=+%222001-01-01T00:00:00Z%22+AND+created_at+%3C+%222002-01-01T00:00:00Z%22",
            0,
        ),
        (
            vec![("resource_type", "repo"), ("resource_id", "a:b"), ("label", "team=blue & green")],
            "/ui/operations?filter=resource_type+=+repo+AND+resource_id+=+%22a:b%22+AND+labels.team+=+%22blue+%26+green%22",
            1,
        ),
        (
            vec![("status", "FAILED"), ("filter", "created_at >= \"-1h\" AND error_message : refused")],
            "/ui/operations?filter=status+=+FAILED+AND+created_at+%3E=+%22-1h%22+AND+error_message+:+refused",
            2,
        ),
        (
            vec![("status", "ASYNC_OPERATION_STATUS_PENDING"), ("page", "1")],
            "/ui/operations?filter=status+=+PENDING",
            3,
        ),
        (vec![("kind", ""), ("filter", "")], "/ui/operations", 6),
    ] {
        let answer = browser.get(&format!("/ui/operations?{}", form(&fields))).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, address), "{fields:?}");
        let list = browser.get(address).await;
        assert_is_page(&list);
        assert_eq!(rows(&list), count, "{address}");
    }
}

#[tokio::test]
async fn counts_by_status_and_kind_are_those_of_the_filter() {
    counted(&stocked().await).await;
}

pub async fn counted(server: &Server) {
    let browser = Browser::sign_in(server, &server.acme().await).await;
    // All, pending, running, completed, failed.
    assert_eq!(tabs(&browser.get("/ui/operations").await), ["6", "3", "0", "1", "2"]);
    let failed_scans = browser.open("/ui/operations?kind=scan&status=FAILED").await;
    assert_eq!(tabs(&failed_scans), ["5", "3", "0", "0", "2"], "of scans, whatever is chosen of the statuses");
    assert!(failed_scans.text().contains("value=\"build\"> build <span class=\"count\">0</span>"), "none has failed");
    assert!(failed_scans.text().contains("value=\"scan\" checked> scan <span class=\"count\">2</span>"));
    assert!(failed_scans.text().contains("<strong>2</strong> match"));
    let of_project = browser.open("/ui/operations?project=p").await;
    assert_eq!(tabs(&of_project), ["1", "0", "0", "1", "0"]);
    // A search row by row is bounded by the status: the other counts are not known.
    let slow = browser.open("/ui/operations?status=PENDING&filter=attempts+%3C+2").await;
    assert_eq!(rows(&slow), 3);
    assert_eq!(tabs(&slow), ["3", "3", "", "", ""]);
}

#[tokio::test]
async fn what_is_wrong_with_a_filter_is_told_at_its_field_and_nothing_is_lost() {
    let server = stocked().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    for (query, says) in [
        ("filter=colour+%3D+red", "at character 1: &#34;colour&#34; is not a field"),
        ("status=BROKEN", "is not a status; the statuses are PENDING"),
        ("from=yesterday", "is not a time"),
        ("label=team", "must be a key and a value"),
        ("filter=output+:+x", "output is checked operation by operation"),
        ("kind=scan&token=nonsense", "must be the next_page_token"),
        ("filter=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "at character 1"),
    ] {
        let answer = browser.open(&format!("/ui/operations?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
        assert!(!answer.text().contains("<script>alert"), "{query}");
        assert_eq!(rows(&answer), 0);
        assert_eq!(tabs(&answer), [""; 5], "nothing was counted: {query}");
    }
    let kept = browser.get("/ui/operations?kind=scan&label=team&filter=kind+%3D").await;
    for typed in ["value=\"kind =\"", "value=\"team\"", "value=\"scan\" checked"] {
        assert!(kept.text().contains(typed), "{typed}: {}", kept.text());
    }
}

#[tokio::test]
async fn what_may_not_start_yet_says_when_it_may() {
    let server = Server::start().await;
    let at = server.store.now().after(Duration::from_secs(3 * 24 * 3600));
    server.create(NewOperation { run_after: Some(at), ..NewOperation::of_kind("scan") }).await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let list = browser.get("/ui/operations").await;
    assert_is_page(&list);
    let exact = at.to_string();
    let told = format!("not before <time class=\"clock\" datetime=\"{exact}\"");
    let day = format!(">{} {}</time>", &exact[..10], &exact[11..16]);
    assert!(list.text().contains(&told) && list.text().contains(&day), "{}", list.text());
    assert!(!list.text().contains("waiting for"), "{}", list.text());
}

#[tokio::test]
async fn the_order_can_be_turned_round() {
    let server = stocked().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let kinds = |answer: &Answer| {
        let rows = answer.text().split("class=\"main\"").skip(1);
        rows.map(|row| row.split('>').nth(1).unwrap().split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&browser.get("/ui/operations").await)[0], "build");
    let oldest = browser.get("/ui/operations?order=oldest").await;
    assert_eq!((oldest.status, kinds(&oldest).last().unwrap().as_str()), (StatusCode::OK, "build"));
}

#[tokio::test]
async fn a_session_of_projects_sees_and_counts_these() {
    let server = stocked().await;
    let access = Access::projects("acme", ["p", "q"]);
    let browser = Browser::sign_in(&server, &server.caller(access, &[Scope::OperationsRead]).await).await;
    let list = browser.get("/ui/operations").await;
    assert_eq!((rows(&list), tabs(&list)), (1, ["1", "0", "0", "1", "0"].map(str::to_owned).into()));
    assert!(!list.text().contains("scan"), "nor learns of the kinds of others: {}", list.text());
    assert!(!list.text().contains("action=\"/ui/bulk\""), "what it may not do is not offered");
    let others = browser.open("/ui/operations?kind=scan").await;
    assert_eq!(rows(&others), 0);
}
