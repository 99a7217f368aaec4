//! What is noted about policy folders.

use std::time::Duration;

use store::{FOLLOWED, PolicyDigests};

use crate::support::{Engine, Fixture, against_both_engines, fixture};

against_both_engines!(what_servers_see_is_noted_until_it_is_forgotten, a_later_note_stands_in_the_stead_of_the_first,);

fn policies(digest: &str) -> PolicyDigests {
    PolicyDigests::from([
        ("vulnerabilities".to_owned(), digest.to_owned()),
        ("file://é.yaml".to_owned(), "2".to_owned()),
    ])
}

/// Which server saw which digest, in order.
async fn seen(fixture: &Fixture) -> Vec<(String, String)> {
    let seen = fixture.store.seen_policies().await.unwrap();
    seen.into_iter().map(|mut seen| (seen.server, seen.policies.remove("vulnerabilities").unwrap())).collect()
}

async fn what_servers_see_is_noted_until_it_is_forgotten(fixture: Fixture) {
    assert_eq!(fixture.store.seen_policies().await.unwrap(), []);
    fixture.store.note_policies("b", &policies("1")).await.unwrap();
    fixture.store.note_policies("a", &policies("2")).await.unwrap();
    fixture.store.note_policies(FOLLOWED, &policies("1")).await.unwrap();
    let of = |server: &str, digest: &str| (server.to_owned(), digest.to_owned());
    assert_eq!(seen(&fixture).await, [of(FOLLOWED, "1"), of("a", "2"), of("b", "1")]);
    fixture.store.forget_policies("b").await.unwrap();
    fixture.store.forget_policies("nobody").await.unwrap();
    assert_eq!(seen(&fixture).await, [of(FOLLOWED, "1"), of("a", "2")]);
}

async fn a_later_note_stands_in_the_stead_of_the_first(fixture: Fixture) {
    fixture.store.note_policies("a", &policies("1")).await.unwrap();
    let first = fixture.store.seen_policies().await.unwrap().remove(0);
    assert_eq!((first.seen_at, first.policies), (fixture.store.now(), policies("1")));
    fixture.advance(Duration::from_secs(20));
    fixture.store.note_policies("a", &PolicyDigests::new()).await.unwrap();
    let second = fixture.store.seen_policies().await.unwrap().remove(0);
    assert_eq!((second.seen_at, second.policies), (fixture.store.now(), PolicyDigests::new()));
}
