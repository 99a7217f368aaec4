//! Managing tokens: who sees and changes which, nobody gives what it does not have, replaced ones end.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use operations::NewOperation;
use store::{
    MAX_OVERLAP, Organizations, Scope, Store, StoreError, Token, TokenError, TokenReach, TokenRotation, TokenWish,
    create_token, revoke_token, rotate_token,
};

use super::support::{Engine, Fixture, against_both_engines, fixture};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn wish(organization: &str, scopes: &[Scope]) -> TokenWish {
    TokenWish {
        name: "t".to_owned(),
        organization: Some(organization.to_owned()).filter(|name| !name.is_empty()),
        projects: set(&[]),
        organizations: set(&[]),
        scopes: scopes.iter().copied().collect(),
        expires_in: None,
    }
}

/// Makes tokens, each with a hash of its own.
struct Maker<'f> {
    store: &'f dyn Store,
    made: std::cell::Cell<u8>,
}

impl Maker<'_> {
    fn hash(&self) -> [u8; 32] {
        self.made.set(self.made.get() + 1);
        [self.made.get(); 32]
    }

    async fn make(&self, giver: Option<&Token>, wish: TokenWish) -> Result<Token, TokenError> {
        create_token(self.store, giver, &wish, self.hash()).await
    }

    async fn ids(&self, reach: &TokenReach) -> Vec<String> {
        self.store.list_tokens(reach, None, 100).await.unwrap().into_iter().map(|token| token.id).collect()
    }
}

fn maker(fixture: &Fixture) -> Maker<'_> {
    Maker { store: &*fixture.store, made: std::cell::Cell::new(0) }
}

/// The fields that a refusal names.
fn fields(result: Result<Token, TokenError>) -> Vec<String> {
    match result {
        Err(TokenError::Invalid(violations)) => violations.into_iter().map(|violation| violation.field).collect(),
        other => panic!("not refused by field: {other:?}"),
    }
}

async fn nobody_gives_what_it_does_not_have(fixture: Fixture) {
    let maker = maker(&fixture);
    let of_projects = TokenWish { projects: set(&["a", "b"]), expires_in: Some(DAY), ..wish("acme", &[Scope::Admin]) };
    let limited = maker.make(None, of_projects.clone()).await.unwrap();
    let asked = TokenWish { projects: set(&["a", "c"]), expires_in: Some(2 * DAY), ..of_projects.clone() };
    assert_eq!(fields(maker.make(Some(&limited), asked).await), ["projects", "expires_in"]);
    let asked = TokenWish { projects: set(&[]), expires_in: None, ..of_projects.clone() };
    assert_eq!(fields(maker.make(Some(&limited), asked).await), ["projects", "expires_in"]);
    let within = TokenWish { projects: set(&["a"]), ..of_projects };
    let given = maker.make(Some(&limited), within).await.unwrap();
    assert_eq!(given.expires_at, limited.expires_at);

    let worker = maker.make(None, wish("acme", &[Scope::OperationsWork])).await.unwrap();
    let refused = maker.make(Some(&worker), wish("acme", &[Scope::OperationsWork])).await;
    assert!(matches!(refused, Err(TokenError::NotFound)), "it manages no tokens: {refused:?}");
    let admin = maker.make(None, wish("acme", &[Scope::Admin])).await.unwrap();
    maker.make(None, wish("other", &[Scope::Admin])).await.unwrap();
    for organization in ["other", "new"] {
        let refused = maker.make(Some(&admin), wish(organization, &[Scope::Admin])).await;
        assert!(matches!(refused, Err(TokenError::NoOrganization)), "{organization}: {refused:?}");
    }
    assert_eq!(fields(maker.make(Some(&admin), wish("", &[Scope::Admin])).await), ["instance"]);
    assert_eq!(fixture.store.organizations().await.unwrap().len(), 2, "no organization was made");
}

async fn what_is_wrong_with_a_wish_is_told_field_by_field(fixture: Fixture) {
    let maker = maker(&fixture);
    let bad = TokenWish {
        name: String::new(),
        projects: set(&[""]),
        organizations: set(&["b"]),
        expires_in: Some(Duration::ZERO),
        ..wish("acme", &[])
    };
    let found = fields(maker.make(None, bad).await);
    assert_eq!(found, ["name", "scopes", "projects", "expires_in", "organizations"]);
    let instance = TokenWish { projects: set(&["a"]), ..wish("", &[Scope::OperationsRead]) };
    assert_eq!(fields(maker.make(None, instance).await), ["projects", "scopes"]);
    assert_eq!(fixture.store.tokens(None).await.unwrap(), []);
}

async fn tokens_out_of_reach_do_not_exist(fixture: Fixture) {
    let maker = maker(&fixture);
    let admin = maker.make(None, wish("acme", &[Scope::Admin])).await.unwrap();
    let limited = maker.make(None, TokenWish { projects: set(&["a"]), ..wish("acme", &[Scope::Admin]) }).await.unwrap();
    let both = maker
        .make(None, TokenWish { projects: set(&["a", "b"]), ..wish("acme", &[Scope::OperationsRead]) })
        .await
        .unwrap();
    let other = maker.make(None, wish("other", &[Scope::Admin])).await.unwrap();
    let instance = maker.make(None, wish("", &[Scope::Admin])).await.unwrap();
    let of_acme = TokenWish { organizations: set(&["acme"]), ..wish("", &[Scope::Admin]) };
    let of_acme = maker.make(None, of_acme).await.unwrap();
    let all = [&admin, &limited, &both, &other, &instance, &of_acme].map(|token| token.id.clone());
    for (holder, sees) in [
        (&admin, vec![0, 1, 2]),
        (&limited, vec![1]),
        (&other, vec![3]),
        (&instance, vec![0, 1, 2, 3, 4, 5]),
        (&of_acme, vec![0, 1, 2, 5]),
    ] {
        let reach = TokenReach::of(holder).unwrap();
        let mut wanted: Vec<String> = sees.iter().map(|index| all[*index].clone()).collect();
        let mut seen = maker.ids(&reach).await;
        wanted.sort();
        seen.sort();
        assert_eq!(seen, wanted, "{holder:?}");
        for (index, id) in all.iter().enumerate().filter(|(index, _)| !sees.contains(index)) {
            assert_eq!(fixture.store.token(&reach, id).await.unwrap(), None);
            let revoked = revoke_token(&*fixture.store, Some(holder), id).await;
            assert!(matches!(revoked, Err(TokenError::NotFound)), "{index}: {revoked:?}");
            let rotated = rotate_token(&*fixture.store, Some(holder), id, TokenRotation::default(), maker.hash()).await;
            assert!(matches!(rotated, Err(TokenError::NotFound)), "{index}: {rotated:?}");
        }
    }
    assert!(fixture.store.tokens(None).await.unwrap().iter().all(|token| token.revoked_at.is_none()));
    assert!(TokenReach::of(&both).is_none(), "it manages none");
    fixture.assert_sound().await;
}

async fn tokens_are_listed_page_by_page(fixture: Fixture) {
    let maker = maker(&fixture);
    for _ in 0..5 {
        maker.make(None, wish("acme", &[Scope::OperationsRead])).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.store.list_tokens(&TokenReach::everything(), after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.created_at, last.id.clone()));
        seen.extend(page.into_iter().map(|token| token.id));
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (5, 5));
}

async fn a_revoked_token_stays_as_it_was_revoked(fixture: Fixture) {
    let maker = maker(&fixture);
    let token = maker.make(None, wish("acme", &[Scope::Admin])).await.unwrap();
    let first = revoke_token(&*fixture.store, Some(&token), &token.id).await.unwrap();
    fixture.advance(DAY);
    assert_eq!(revoke_token(&*fixture.store, Some(&token), &token.id).await.unwrap(), first);
    let rotated = rotate_token(&*fixture.store, None, &token.id, TokenRotation::default(), maker.hash()).await;
    assert!(matches!(rotated, Err(TokenError::NoLongerValid)), "{rotated:?}");
}

async fn a_replaced_token_ends_after_the_overlap(fixture: Fixture) {
    let (maker, store) = (maker(&fixture), &*fixture.store);
    let old = TokenWish { projects: set(&["a"]), expires_in: Some(10 * DAY), ..wish("acme", &[Scope::Admin]) };
    let old = maker.make(None, old).await.unwrap();
    fixture.advance(DAY);
    let new = rotate_token(store, None, &old.id, TokenRotation::default(), maker.hash()).await.unwrap();
    assert_eq!((&new.name, &new.access, &new.scopes), (&old.name, &old.access, &old.scopes));
    assert_eq!(new.expires_at, Some(store.now().after(10 * DAY)), "as long as the old one was from its start");
    assert_ne!(new.id, old.id);
    let ends =
        |id: String| async move { store.token(&TokenReach::everything(), &id).await.unwrap().unwrap().expires_at };
    assert_eq!(ends(old.id.clone()).await, Some(store.now().after(DAY)));
    // Replacing it a second time does not extend the overlap.
    fixture.advance(DAY / 2);
    let longer = TokenRotation { overlap: 9 * DAY, expires_in: Some(DAY) };
    let again = rotate_token(store, None, &old.id, longer, maker.hash()).await.unwrap();
    assert_eq!(again.expires_at, Some(store.now().after(DAY)));
    assert_eq!(ends(old.id.clone()).await, Some(store.now().after(DAY / 2)));
    fixture.advance(DAY);
    let late = rotate_token(store, None, &old.id, TokenRotation::default(), maker.hash()).await;
    assert!(matches!(late, Err(TokenError::NoLongerValid)), "{late:?}");
    let endless = TokenRotation { overlap: MAX_OVERLAP + DAY, expires_in: Some(Duration::ZERO) };
    assert_eq!(fields(rotate_token(store, None, &new.id, endless, maker.hash()).await), ["overlap", "expires_in"]);
}

async fn whoever_replaces_a_token_has_what_it_has(fixture: Fixture) {
    let (maker, store) = (maker(&fixture), &*fixture.store);
    let ending = TokenWish { expires_in: Some(DAY), ..wish("acme", &[Scope::Admin]) };
    let ending = maker.make(None, ending).await.unwrap();
    let endless = maker.make(None, wish("acme", &[Scope::OperationsRead])).await.unwrap();
    let new = rotate_token(store, Some(&ending), &endless.id, TokenRotation::default(), maker.hash()).await.unwrap();
    assert_eq!(new.expires_at, ending.expires_at, "the secret that it learns does not outlive it");
    let wish_for_more = TokenRotation { expires_in: Some(2 * DAY), ..TokenRotation::default() };
    assert_eq!(fields(rotate_token(store, Some(&ending), &new.id, wish_for_more, maker.hash()).await), ["expires_in"]);
    // A token that manages organizations does not get at the secret of one that works for them.
    let manager = maker.make(None, wish("", &[Scope::Admin])).await.unwrap();
    let worker = maker.make(None, wish("", &[Scope::OperationsWork])).await.unwrap();
    let taken = rotate_token(store, Some(&manager), &worker.id, TokenRotation::default(), maker.hash()).await;
    assert_eq!(fields(taken), ["scopes"]);
}

async fn a_token_of_the_instance_is_of_no_organization(fixture: Fixture) {
    let (maker, store) = (maker(&fixture), &*fixture.store);
    let wish = TokenWish { organizations: set(&["a", "b"]), ..wish("", &[Scope::Admin, Scope::OperationsWork]) };
    let token = maker.make(None, wish.clone()).await.unwrap();
    let reach = Organizations::Only(set(&["a", "b"]));
    assert_eq!(token.instance, Some(reach.clone()));
    assert_eq!(store.find_token(&[maker.made.get(); 32]).await.unwrap(), Some(token.clone()));
    assert!(Scope::ALL.into_iter().all(|scope| !token.allows(scope)), "nothing within an organization");
    assert_eq!(token.allows_in(Scope::OperationsWork), Some(&reach));
    assert_eq!(token.allows_in(Scope::OperationsRead), None);
    // Nothing is ever created in the organization without a name.
    let created = store.create(&token.access.organization, vec![NewOperation::of_kind("scan")], None).await;
    assert!(matches!(created, Err(StoreError::OrganizationGone)), "{created:?}");
    assert_eq!(store.organizations().await.unwrap(), []);
    // It gives no wider reach than it has.
    let wider = TokenWish { organizations: set(&["a", "c"]), ..wish.clone() };
    assert_eq!(fields(maker.make(Some(&token), wider).await), ["organizations"]);
    let all = TokenWish { organizations: set(&[]), ..wish };
    assert_eq!(fields(maker.make(Some(&token), all).await), ["organizations"]);
    fixture.assert_sound().await;
}

against_both_engines!(
    nobody_gives_what_it_does_not_have,
    what_is_wrong_with_a_wish_is_told_field_by_field,
    tokens_out_of_reach_do_not_exist,
    tokens_are_listed_page_by_page,
    a_revoked_token_stays_as_it_was_revoked,
    a_replaced_token_ends_after_the_overlap,
    whoever_replaces_a_token_has_what_it_has,
    a_token_of_the_instance_is_of_no_organization,
);
