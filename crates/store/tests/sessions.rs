//! Sessions of people: they are listed by organization, and ended permanently by those who may.
use std::time::Duration;

use store::{Scope, Session, StoreError, TokenWish, create_token, go_on_deleting};

use super::support::{Engine, Fixture, against_both_engines, fixture};

const HOUR: Duration = Duration::from_secs(3600);

fn session(fixture: &Fixture, organization: &str, id: &str) -> Session {
    let now = fixture.store.now();
    Session {
        id: id.to_owned(),
        organization: organization.to_owned(),
        subject: "ada".to_owned(),
        name: "Ada".to_owned(),
        begun_at: now,
        expires_at: now.after(HOUR),
        revoked_at: None,
    }
}

async fn ids(fixture: &Fixture, organization: &str) -> Vec<String> {
    fixture.store.sessions(organization, None, 100).await.unwrap().into_iter().map(|session| session.id).collect()
}

async fn organization(fixture: &Fixture, name: &str) {
    let wish = TokenWish {
        name: "t".to_owned(),
        organization: Some(name.to_owned()),
        projects: [].into(),
        organizations: [].into(),
        scopes: [Scope::Admin].into(),
        expires_in: None,
    };
    create_token(&*fixture.store, None, &wish, [7; 32]).await.unwrap();
}

async fn sessions_are_of_one_organization_and_come_in_pages_the_oldest_first(fixture: Fixture) {
    let (store, first) = (&*fixture.store, session(&fixture, "acme", "b"));
    store.begin_session(first.clone()).await.unwrap();
    fixture.advance(Duration::from_secs(1));
    for (organization, id) in [("acme", "c"), ("acme", "a"), ("other", "d")] {
        store.begin_session(session(&fixture, organization, id)).await.unwrap();
    }
    assert_eq!(store.session("acme", "b").await.unwrap(), Some(first.clone()));
    assert_eq!(store.session("other", "b").await.unwrap(), None);
    assert_eq!(ids(&fixture, "acme").await, ["b", "a", "c"]);
    assert_eq!(ids(&fixture, "other").await, ["d"]);
    let after = Some((first.begun_at, first.id));
    let page = store.sessions("acme", after, 1).await.unwrap();
    assert_eq!(page.iter().map(|session| &*session.id).collect::<Vec<_>>(), ["a"]);
}

async fn an_ended_session_stays_as_it_was_ended(fixture: Fixture) {
    let store = &*fixture.store;
    store.begin_session(session(&fixture, "acme", "a")).await.unwrap();
    assert!(!store.revoke_session("other", "a").await.unwrap(), "it is not of that organization");
    assert_eq!(store.session("acme", "a").await.unwrap().unwrap().revoked_at, None);
    assert!(store.revoke_session("acme", "a").await.unwrap());
    let ended = store.session("acme", "a").await.unwrap().unwrap();
    assert_eq!(ended.revoked_at, Some(store.now()));
    fixture.advance(Duration::from_secs(1));
    assert!(store.revoke_session("acme", "a").await.unwrap());
    assert_eq!(store.session("acme", "a").await.unwrap(), Some(ended));
}

async fn sessions_that_are_over_are_forgotten(fixture: Fixture) {
    let store = &*fixture.store;
    for id in ["a", "b", "c"] {
        store.begin_session(session(&fixture, "acme", id)).await.unwrap();
    }
    fixture.advance(HOUR / 2);
    store.begin_session(session(&fixture, "acme", "d")).await.unwrap();
    assert_eq!(store.forget_sessions(10).await.unwrap(), 0);
    fixture.advance(HOUR / 2);
    assert_eq!(store.forget_sessions(2).await.unwrap(), 2, "so many at a time");
    assert_eq!(store.forget_sessions(2).await.unwrap(), 1);
    assert_eq!(ids(&fixture, "acme").await, ["d"]);
}

async fn a_sign_in_makes_the_organization(fixture: Fixture) {
    let store = &*fixture.store;
    assert_eq!(store.contents("acme").await.unwrap(), None);
    store.begin_session(session(&fixture, "acme", "a")).await.unwrap();
    assert!(store.contents("acme").await.unwrap().is_some(), "so that its log has an entry");
    fixture.assert_sound().await;
}

async fn the_deletion_of_an_organization_ends_its_sessions(fixture: Fixture) {
    let store = &*fixture.store;
    organization(&fixture, "acme").await;
    store.begin_session(session(&fixture, "acme", "a")).await.unwrap();
    store.begin_session(session(&fixture, "other", "b")).await.unwrap();
    store.begin_deletion("acme", false).await.unwrap();
    assert!(store.session("acme", "a").await.unwrap().unwrap().revoked_at.is_some(), "from its beginning");
    let late = store.begin_session(session(&fixture, "acme", "c")).await;
    assert!(matches!(late, Err(StoreError::OrganizationGone)), "{late:?}");
    assert!(go_on_deleting(store, None, "acme", None, |_| ()).await.unwrap());
    assert_eq!((ids(&fixture, "acme").await.len(), ids(&fixture, "other").await.len()), (0, 1));
    let later = store.begin_session(session(&fixture, "acme", "d")).await;
    assert!(
        matches!(later, Err(StoreError::OrganizationGone)),
        "it would be one of whoever has the name next: {later:?}"
    );
    fixture.assert_sound().await;
}

against_both_engines!(
    sessions_are_of_one_organization_and_come_in_pages_the_oldest_first,
    an_ended_session_stays_as_it_was_ended,
    sessions_that_are_over_are_forgotten,
    a_sign_in_makes_the_organization,
    the_deletion_of_an_organization_ends_its_sessions,
);
