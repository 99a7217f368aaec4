//! Schedules on the web page.

use http::StatusCode;
use operations::{Access, NewOperation};
use store::{Schedule, Scope};

use crate::harness::Server;
use crate::page::{Browser, assert_is_page};

const NEW: &str = "/ui/schedules:new";
const ALL: &str = "/ui/schedules";

const NIGHTLY: [(&str, &str); 12] = [
    ("name", "nightly"),
    ("cron", "0 3 * * *"),
    ("time_zone", "Europe/Berlin"),
    ("overlap", "skip"),
    ("catch_up", "none"),
    ("jitter", "1m30s"),
    ("kind", "scan"),
    ("input", "{\"depth\": 1.000}"),
    ("labels", "team=search\r\nenv=prod"),
    ("priority", "7"),
    ("timeout", "5m"),
    ("concurrency_key", "nightly scans"),
];

async fn kept(server: &Server, name: &str) -> Option<Schedule> {
    server.store.schedule(&Access::organization("acme"), name).await.unwrap()
}

#[tokio::test]
async fn a_schedule_is_made_shown_changed_and_deleted() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    assert!(browser.get(ALL).await.text().contains("No schedules yet"));
    assert_is_page(&browser.get(NEW).await);
    let made = browser.send(NEW, ALL, &NIGHTLY).await;
    let page = "/ui/schedules/nightly";
    assert_eq!((made.status, made.header("location")), (StatusCode::SEE_OTHER, page), "{made:?}");
    let before = kept(&server, "nightly").await.unwrap().wanted;
    assert_eq!((before.jitter.as_secs(), before.operation.timeout.unwrap().as_secs()), (90, 300));
    assert_eq!((before.operation.labels.len(), before.operation.input.as_str()), (2, "{\"depth\": 1.000}"));

    let shown = browser.get(page).await;
    assert_is_page(&shown);
    let (_, times) = shown.text().split_once("class=\"times\"").unwrap();
    assert_eq!(times.split("</ol>").next().unwrap().matches("<li>").count(), 5, "the next five times");
    assert!(shown.text().contains("0 3 * * * (Europe/Berlin)"), "{}", shown.text());
    assert!(browser.get(ALL).await.text().contains("href=\"/ui/schedules/nightly\""));

    // A form that sends back unchanged what it shows leaves the schedule as it is.
    let edit = format!("{page}/edit");
    let form = browser.get(&edit).await;
    assert_is_page(&form);
    for shown in ["value=\"1m30s\"", "value=\"5m\"", "env=prod\nteam=search", "1.000", "value=\"skip\" selected"] {
        assert!(form.text().contains(shown), "{shown}: {}", form.text());
    }
    let saved = browser.send(&edit, &edit, &NIGHTLY[1..]).await;
    assert_eq!(saved.header("location"), page, "{saved:?}");
    assert_eq!(kept(&server, "nightly").await.unwrap().wanted, before);
    let hourly = [("every", "1h"), ("kind", "scan"), ("overlap", "allow"), ("catch_up", "latest")];
    assert_eq!(browser.send(&edit, &edit, &hourly).await.status, StatusCode::SEE_OTHER);
    let after = kept(&server, "nightly").await.unwrap().wanted;
    assert_eq!((after.cron.as_str(), after.every.unwrap().as_secs(), after.jitter.as_secs()), ("", 3_600, 0));
    assert!(after.operation.labels.is_empty() && after.operation.input.is_empty());

    browser.send(page, &format!("{page}/pause"), &[]).await;
    assert!(kept(&server, "nightly").await.unwrap().wanted.paused);
    assert!(browser.get(page).await.text().contains("Resume"));
    browser.send(page, &format!("{page}/resume"), &[]).await;
    assert!(!kept(&server, "nightly").await.unwrap().wanted.paused);
    let triggered = browser.send(page, &format!("{page}/trigger"), &[]).await;
    let operation = triggered.header("location").to_owned();
    assert!(operation.starts_with("/ui/operations/"), "{triggered:?}");
    // However many others of the kind came after it.
    server.store.create("acme", vec![NewOperation::of_kind("scan"); 120], None).await.unwrap();
    let shown = browser.get(page).await.text().to_owned();
    assert_eq!(shown.matches("href=\"/ui/operations/").count(), 1, "{shown}");
    assert!(shown.contains(&format!("href=\"{operation}\"")), "its operations");
    let all = "/ui/operations?filter=schedule+=+nightly";
    assert!(shown.contains(&format!("href=\"{all}\"")), "{shown}");
    assert!(browser.get(all).await.text().contains(&format!("href=\"{operation}\"")), "all that it made");
    assert!(browser.get(&operation).await.text().contains("href=\"/ui/schedules/nightly\""));
    assert_eq!(browser.send(page, &format!("{page}/delete"), &[]).await.header("location"), ALL);
    assert_eq!(kept(&server, "nightly").await, None);
    assert_eq!(browser.get(page).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_refused_is_told_at_its_field_and_kept() {
    let server = Server::start().await;
    let browser = Browser::sign_in(&server, &server.acme().await).await;
    browser.send(NEW, ALL, &NIGHTLY).await;
    for (field, typed, says) in [
        ("name", "a b", "must be 1 to 128 letters"),
        ("name", "nightly", "has a schedule of this name already"),
        ("cron", "0 25 * * *", "id=\"cron-wrong\""),
        ("every", "soon", "must be a duration in seconds"),
        ("every", "1h", "must not be given together with cron"),
        ("time_zone", "Europe/Atlantis", "id=\"time_zone-wrong\""),
        ("kind", "unheard-of", "is not declared on this server"),
        ("input", "{", "is not JSON"),
        ("labels", "team", "is not a label"),
        ("labels", "a=1\na=2", "is given twice"),
        ("priority", "high", "id=\"priority-wrong\""),
        ("priority", "1000", "must be between"),
        ("max_attempts", "0", "must be between"),
        ("timeout", "\"><script>", "id=\"timeout-wrong\""),
        ("resource_id", "x", "must both be given"),
        ("concurrency_limit", "many", "id=\"concurrency_limit-wrong\""),
        ("kind", "</textarea><script>", "id=\"kind-wrong\""),
        ("input", "</textarea><script>", "is not JSON"),
    ] {
        let others = [("name", "other")].iter().chain(&NIGHTLY[1..]).filter(|(name, _)| *name != field);
        let fields: Vec<(&str, &str)> = others.copied().chain([(field, typed)]).collect();
        let refused = browser.send(NEW, ALL, &fields).await;
        assert!(refused.status.is_client_error(), "{field}={typed}: {refused:?}");
        assert!(refused.text().contains(says), "{field}={typed}: {}", refused.text());
        let kept = typed.replace('"', "&#34;").replace('<', "&#60;").replace('>', "&#62;");
        let is_kept = [format!("value=\"{kept}\""), format!("{kept}</textarea>")];
        assert!(is_kept.iter().any(|kept| refused.text().contains(kept)), "{field}={typed}: {}", refused.text());
        assert!(refused.text().contains("value=\"nightly scans\""), "nor is anything else lost");
        assert!(!refused.text().contains("<script>"));
    }
    let edit = "/ui/schedules/nightly/edit";
    for fields in [vec![("kind", "scan")], [&[("cron", "x")], &NIGHTLY[6..]].concat()] {
        let refused = browser.send(edit, edit, &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text().contains("id=\"cron-wrong\""), "{}", refused.text());
    }
    let names = server.store.schedules(&Access::organization("acme"), "", 10).await.unwrap();
    assert_eq!(names.iter().map(|kept| &*kept.wanted.name).collect::<Vec<_>>(), ["nightly"]);
}

#[tokio::test]
async fn nobody_changes_what_is_not_theirs() {
    let server = Server::start().await;
    let acme = Browser::sign_in(&server, &server.acme().await).await;
    acme.send(NEW, ALL, &NIGHTLY).await;
    let page = "/ui/schedules/nightly";
    let changes = ["edit", "pause", "resume", "trigger", "delete"].map(|action| format!("{page}/{action}"));
    for path in changes.iter().map(String::as_str).chain([ALL]) {
        assert_eq!(acme.post(path, "kind=scan").await.status, StatusCode::FORBIDDEN, "{path}: no token of a form");
    }
    let reader = server.caller(Access::organization("acme"), &[Scope::OperationsRead]).await;
    let reader = Browser::sign_in(&server, &reader).await;
    let shown = reader.get(page).await;
    assert!(shown.text().contains("nightly") && !shown.text().contains("Trigger now"), "{}", shown.text());
    assert!(!reader.get(ALL).await.text().contains("New schedule"));
    for path in changes.iter().map(String::as_str).chain([ALL]) {
        assert_eq!(reader.send(ALL, path, &NIGHTLY).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for path in [NEW, &changes[0]] {
        assert_eq!(reader.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for access in [Access::organization("globex"), Access::projects("acme", ["q"])] {
        let stranger = Browser::sign_in(&server, &server.caller(access, &[Scope::Admin]).await).await;
        assert!(!stranger.get(ALL).await.text().contains("nightly"));
        for path in [page, &changes[0]] {
            assert_eq!(stranger.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
        }
        for path in &changes {
            for fields in [&NIGHTLY[..], &[("input", "{")]] {
                let refused = stranger.send(ALL, path, fields).await;
                assert_eq!(refused.status, StatusCode::NOT_FOUND, "{path}: {refused:?}");
            }
        }
    }
    let kept = kept(&server, "nightly").await.unwrap();
    assert_eq!((kept.revision, kept.last_operation), (kept.revision.min(1), None));
}
