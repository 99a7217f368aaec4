//! Saved views.

use operations::Access;
use store::{MAX_ALL_PRIVATE_VIEWS, MAX_PRIVATE_VIEWS, MAX_SHARED_VIEWS, View, ViewOutcome, ViewReach};

use crate::support::{Engine, Fixture, against_both_engines, fixture, in_project};

against_both_engines!(
    views_are_kept_found_changed_and_removed_within_reach,
    there_are_no_more_than_there_may_be,
    a_deleted_organization_leaves_no_views,
);

fn view(fixture: &Fixture, name: &str, owner: Option<&str>) -> View {
    let columns = vec!["id".to_owned(), "kind".to_owned()];
    View::new(name.to_owned(), "kind = scan".to_owned(), columns, owner.map(str::to_owned), fixture.store.now())
}

async fn names(fixture: &Fixture, reach: &ViewReach) -> Vec<String> {
    fixture.store.views(reach).await.unwrap().into_iter().map(|view| view.name).collect()
}

async fn keep(fixture: &Fixture, view: View) -> View {
    let ViewOutcome::Kept(kept) = fixture.store.create_view("acme", view).await.unwrap() else { panic!("it is kept") };
    kept
}

async fn views_are_kept_found_changed_and_removed_within_reach(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    let store = &fixture.store;
    let whole = ViewReach::of(&Access::organization("acme"), "a");
    let limited = ViewReach::of(&Access::projects("acme", ["p"]), "b");
    let shared = keep(&fixture, view(&fixture, "s", None)).await;
    let private = keep(&fixture, view(&fixture, "s", Some("a"))).await;
    keep(&fixture, view(&fixture, "b", Some("b"))).await;
    assert_eq!(store.views(&whole).await.unwrap(), [shared.clone(), private.clone()]);
    assert_eq!(names(&fixture, &limited).await, ["b"]);
    assert_eq!(names(&fixture, &ViewReach::of(&Access::organization("other"), "a")).await, [""; 0]);
    let taken = store.create_view("acme", view(&fixture, "s", Some("a"))).await.unwrap();
    assert_eq!(taken, ViewOutcome::NameTaken);
    assert_eq!(store.create_view("nobody", view(&fixture, "s", None)).await.unwrap(), ViewOutcome::Missing);
    let changed = View { name: "t".to_owned(), filter: String::new(), columns: Vec::new(), ..private.clone() };
    assert_eq!(store.update_view(&limited, changed.clone()).await.unwrap(), ViewOutcome::Missing);
    assert_eq!(store.update_view(&whole, changed.clone()).await.unwrap(), ViewOutcome::Kept(changed.clone()));
    let second = keep(&fixture, view(&fixture, "u", Some("a"))).await;
    let named_alike = View { name: "t".to_owned(), ..second.clone() };
    assert_eq!(store.update_view(&whole, named_alike).await.unwrap(), ViewOutcome::NameTaken);
    assert_eq!(names(&fixture, &whole).await, ["s", "t", "u"]);
    assert!(!store.delete_view(&limited, &shared.id).await.unwrap());
    assert!(store.delete_view(&whole, &shared.id).await.unwrap());
    assert!(!store.delete_view(&whole, &shared.id).await.unwrap());
    assert_eq!(names(&fixture, &whole).await, ["t", "u"]);
}

async fn there_are_no_more_than_there_may_be(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    for (owner, most) in [(None, MAX_SHARED_VIEWS), (Some("a"), MAX_PRIVATE_VIEWS)] {
        for number in 0..most {
            keep(&fixture, view(&fixture, &number.to_string(), owner)).await;
        }
        let outcome = fixture.store.create_view("acme", view(&fixture, "more", owner)).await.unwrap();
        assert_eq!(outcome, ViewOutcome::TooMany(most));
    }
    // As many views of other tokens as all may have together.
    let values = (MAX_PRIVATE_VIEWS..MAX_ALL_PRIVATE_VIEWS).map(|number| format!("('{number}')"));
    let columns = if fixture.place().starts_with("postgres") { "'{}'" } else { "'[]'" };
    fixture
        .tamper(&format!(
            "WITH n (n) AS (VALUES {}) INSERT INTO views SELECT 'acme', n, n, n, '', {columns}, 0, 0 FROM n",
            values.collect::<Vec<_>>().join(", ")
        ))
        .await;
    let outcome = fixture.store.create_view("acme", view(&fixture, "more", Some("b"))).await.unwrap();
    assert_eq!(outcome, ViewOutcome::TooMany(MAX_ALL_PRIVATE_VIEWS));
}

async fn a_deleted_organization_leaves_no_views(fixture: Fixture) {
    fixture.create("acme", in_project("scan", "p")).await;
    keep(&fixture, view(&fixture, "s", None)).await;
    fixture.store.begin_deletion("acme", true).await.unwrap();
    assert_eq!(fixture.store.create_view("acme", view(&fixture, "t", None)).await.unwrap(), ViewOutcome::Missing);
    while fixture.store.delete_part("acme", 10).await.unwrap() > Some(0) {}
    fixture.store.end_deletion("acme").await.unwrap();
    assert_eq!(names(&fixture, &ViewReach::of(&Access::organization("acme"), "a")).await, [""; 0]);
}
