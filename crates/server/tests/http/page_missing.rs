//! What does not exist, or is not the visitor's: both are reported in the same words, on a page with the navigation.

use http::{Method, StatusCode};
use operations::{Access, NewOperation, OperationId, Outcome};
use store::Scope;

use crate::harness::{Answer, Server};
use crate::page::{Browser, NAVIGATION, assert_is_missing};
use crate::page_views::ids;

/// The id of no operation, of the form of one.
const NOBODYS: &str = "0193e1f2-0000-7000-8000-000000000000";

/// A page at which a name is asked for: the text before the name and behind it.
type Place = (&'static str, &'static str);

/// Pages and files of an operation.
const OPERATION: [Place; 5] = [
    ("/ui/operations/", ""),
    ("/ui/operations/", "/output"),
    ("/ui/operations/", "/input"),
    ("/ui/operations/", "/attestation"),
    ("/ui/operations/", "/retry"),
];
const SCHEDULE: [Place; 2] = [("/ui/schedules/", ""), ("/ui/schedules/", "/edit")];
const VIEW: [Place; 1] = [("/ui/views/", "")];
const EVIDENCE: [Place; 1] = [("/ui/evidence/", "")];

/// Where forms about a thing are sent, with their fields.
type Form = (Place, &'static [(&'static str, &'static str)]);

const FORMS: [Form; 12] = [
    (("/ui/operations/", "/cancel"), &[]),
    (("/ui/operations/", "/delete"), &[]),
    (("/ui/operations/", "/retry"), &[]),
    (("/ui/operations/", "/retry"), &[("input", "{}")]),
    (("/ui/operations/", "/retry"), &[("input", "{")]),
    (("/ui/schedules/", "/pause"), &[]),
    (("/ui/schedules/", "/trigger"), &[]),
    (("/ui/schedules/", "/delete"), &[]),
    (("/ui/schedules/", "/edit"), &[("every", "1h"), ("kind", "scan"), ("overlap", "allow"), ("catch_up", "none")]),
    (("/ui/schedules/", "/edit"), &[("every", "often")]),
    (("/ui/views/", ""), &[("name", "mine"), ("filter", "")]),
    (("/ui/views/", "/delete"), &[]),
];

/// The text of a page, except the name that was asked for and what forms send back.
fn told(answer: &Answer, name: &str) -> String {
    let (_, rest) = answer.text().split_once("name=\"csrf_token\" value=\"").unwrap();
    let token = rest.split('"').next().unwrap();
    answer.text().replace(token, "").replace(name, "NAME")
}

/// Asserts that what is somebody else's is reported like what does not exist, and where its list is.
async fn assert_hidden(visitor: &Browser, places: &[Place], theirs: &str, nobodys: &str, list: &str) {
    for (before, behind) in places {
        let hidden = visitor.get(&format!("{before}{theirs}{behind}")).await;
        assert_is_missing(&hidden);
        assert!(hidden.text().contains(list), "{before}…{behind}: {}", hidden.text());
        let missing = visitor.get(&format!("{before}{nobodys}{behind}")).await;
        assert_is_missing(&missing);
        assert_eq!(told(&hidden, theirs), told(&missing, nobodys), "{before}…{behind}");
    }
}

#[tokio::test]
async fn what_is_not_the_visitors_is_told_as_what_is_not_there() {
    let server = Server::start().await;
    let admin = server.acme().await;
    let owner = Browser::sign_in(&server, &admin).await;
    let of_p = || NewOperation { project_id: "p".to_owned(), ..NewOperation::of_kind("scan") };
    let operation = server.ended(of_p(), Outcome::Completed { output: "{}".to_owned() }).await.id.to_string();
    let fields = [("name", "nightly"), ("every", "1h"), ("kind", "scan"), ("project_id", "p"), ("overlap", "allow")];
    let made = owner.send("/ui/schedules:new", "/ui/schedules", &fields).await;
    assert_eq!(made.header("location"), "/ui/schedules/nightly", "{made:?}");
    owner.send("/ui/views", "/ui/views", &[("name", "own"), ("filter", "kind = scan")]).await;
    let view = ids(&owner).await.remove(0);
    let stored = admin.send(Method::POST, "/v1/evidence", &[], "evidence").await.json();
    let digest = stored["digest"].as_str().unwrap();
    for (name, place) in [
        (operation.as_str(), OPERATION[0]),
        (&*operation, OPERATION[1]),
        (&*operation, OPERATION[2]),
        (&*operation, OPERATION[4]),
        ("nightly", SCHEDULE[0]),
        ("nightly", SCHEDULE[1]),
        (&*view, VIEW[0]),
        (digest, EVIDENCE[0]),
    ] {
        let (before, behind) = place;
        assert_eq!(owner.get(&format!("{before}{name}{behind}")).await.status, StatusCode::OK, "{place:?}");
    }

    let unknown_digest = format!("sha256:{}", "0".repeat(64));
    for access in [Access::organization("globex"), Access::projects("acme", ["q"])] {
        let is_other = access.organization == "globex";
        let visitor = Browser::sign_in(&server, &server.caller(access, &[Scope::Admin]).await).await;
        let list = "href=\"/ui/operations\">To the list of operations<";
        assert_hidden(&visitor, &OPERATION, &operation, NOBODYS, list).await;
        let list = "href=\"/ui/schedules\">To the list of schedules<";
        assert_hidden(&visitor, &SCHEDULE, "nightly", "weekly", list).await;
        assert_hidden(&visitor, &VIEW, &view, "nothing", "href=\"/ui/views\">To the list of views<").await;
        // Evidence belongs to no project.
        if is_other {
            let list = "href=\"/ui/evidence\">To the list of evidence<";
            assert_hidden(&visitor, &EVIDENCE, digest, &unknown_digest, list).await;
        }
        for ((before, behind), fields) in FORMS {
            let (theirs, nobodys) = match before {
                "/ui/operations/" => (operation.as_str(), NOBODYS),
                "/ui/schedules/" => ("nightly", "weekly"),
                _ => (view.as_str(), "nothing"),
            };
            let send = async |name: &str| {
                let sent = visitor.send("/ui/views", &format!("{before}{name}{behind}"), fields).await;
                assert_is_missing(&sent);
                told(&sent, name)
            };
            assert_eq!(send(theirs).await, send(nobodys).await, "{before}…{behind} {fields:?}");
        }
    }
    let id: OperationId = operation.parse().unwrap();
    assert!(server.store.get(&Access::organization("acme"), id).await.unwrap().is_some(), "nothing was done to it");
}

#[tokio::test]
async fn what_was_removed_meanwhile_is_told_with_the_navigation() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    for (path, list) in [
        ("/ui/tokens/nothing/revoke", "href=\"/ui/tokens\">To the list of tokens<"),
        ("/ui/tokens/nothing/rotate", "href=\"/ui/tokens\">To the list of tokens<"),
        ("/ui/sessions/nothing/revoke", "href=\"/ui/tokens\">To the list of sessions<"),
        ("/ui/waivers/nothing/remove", "href=\"/ui/waivers\">To the list of waivers<"),
    ] {
        let gone = browser.send("/ui/views", path, &[]).await;
        assert_is_missing(&gone);
        assert!(gone.text().contains(list), "{path}: {}", gone.text());
    }
    for path in ["/ui/operations/x/explode", "/ui/schedules/x/explode", "/ui/tokens/x/explode"] {
        let nowhere = browser.send("/ui/views", path, &[]).await;
        assert_is_missing(&nowhere);
        assert!(nowhere.text().contains("There is no page at this address."), "{path}: {}", nowhere.text());
    }
    // A text that can be no name does not exist: markup, and bytes that are not UTF-8.
    for odd in ["%3Cscript%3E", "%FF", "%00"] {
        for (before, behind) in OPERATION.iter().chain(&SCHEDULE).chain(&VIEW).chain(&EVIDENCE) {
            let page = browser.get(&format!("{before}{odd}{behind}")).await;
            assert_is_missing(&page);
            assert!(!page.text().contains("<script>"), "{before}…{behind}: {}", page.text());
        }
    }
}

#[tokio::test]
async fn what_has_no_signed_result_says_so_with_the_navigation() {
    let server = Server::start().await;
    let scan = server.completed("scan", "{}").await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let none = browser.get(&format!("/ui/operations/{}/attestation", scan.id)).await;
    assert_is_missing(&none);
    assert!(none.text().contains("this operation has no attestation"), "{}", none.text());
}

#[tokio::test]
async fn who_may_not_see_a_list_is_not_led_there() {
    let server = Server::start().await;
    let of_project =
        server.caller(Access::projects("acme", ["p"]), &[Scope::OperationsRead, Scope::EvidenceRead]).await;
    let browser = Browser::sign_in(&server, &of_project).await;
    let page = browser.get(&format!("/ui/evidence/sha256:{}", "0".repeat(64))).await;
    assert_is_missing(&page);
    assert!(page.text().contains("href=\"/ui\">To the overview<") && !page.text().contains("/ui/evidence\""));
}

#[tokio::test]
async fn other_errors_have_the_navigation_too() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    let ended = server.completed("scan", "{}").await;
    let act = format!("/ui/operations/{}/cancel", ended.id);
    let errors = [
        (StatusCode::FORBIDDEN, "The page is out of date", browser.post(&act, "csrf_token=wrong").await),
        (StatusCode::BAD_REQUEST, "Something went wrong", browser.send("/ui/views", &act, &[]).await),
    ];
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    let forbidden = (StatusCode::FORBIDDEN, "You may not do this", reader.send("/ui/views", &act, &[]).await);
    for (status, title, answer) in errors.into_iter().chain([forbidden]) {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert!(answer.text().contains(&format!("<h1>{title}</h1>")), "{}", answer.text());
        assert!(answer.text().contains(NAVIGATION), "{title}: {}", answer.text());
    }
    let nobodys = server.nobody().get("/ui/nothing").await;
    assert_eq!(nobodys.status, StatusCode::NOT_FOUND);
    assert!(!nobodys.text().contains(NAVIGATION), "there is nothing for somebody who is not signed in");
}
