//! Organizations that are made by a call, and limits that take precedence over the configuration.
#![allow(clippy::unwrap_used)]

use operations::NewOperation;
use store::{Limits, Quota, Quotas, Store, StoreError};

use super::support::{Engine, Fixture, against_both_engines, fixture};

async fn create(store: &dyn Store, organization: &str) -> Result<(), StoreError> {
    store.create(organization, vec![NewOperation::of_kind("scan")], None).await.map(drop)
}

async fn an_organization_is_made_once(fixture: Fixture) {
    let store = &*fixture.store;
    assert!(store.create_organization("acme", Limits::default()).await.unwrap());
    assert!(!store.create_organization("acme", Limits { weight: Some(7), ..Limits::default() }).await.unwrap());
    assert_eq!(store.quotas().of("acme").weight, 1, "the second call changed nothing");
    assert!(!store.set_limits("other", Limits::default()).await.unwrap());
    assert_eq!(store.organizations().await.unwrap().len(), 1);
    store.begin_deletion("acme", true).await.unwrap();
    let made = store.create_organization("acme", Limits::default()).await;
    assert!(matches!(made, Err(StoreError::OrganizationGone)), "{made:?}");
    while store.delete_part("acme", 100).await.unwrap() > Some(0) {}
    store.end_deletion("acme").await.unwrap();
    assert!(store.create_organization("acme", Limits::default()).await.unwrap());
    fixture.assert_sound().await;
}

async fn limits_of_the_store_go_before_the_configuration(fixture: Fixture) {
    let store = &*fixture.store;
    let quotas = Quotas { everybody: Quota { max_pending: Some(1), ..Quota::default() }, ..Quotas::default() };
    store.set_quotas(quotas.clone());
    store.create_organization("acme", Limits { max_pending: Some(3), ..Limits::default() }).await.unwrap();
    for organization in ["acme", "acme", "acme", "other"] {
        create(store, organization).await.unwrap();
    }
    for organization in ["acme", "other"] {
        let refused = create(store, organization).await;
        assert!(matches!(refused, Err(StoreError::Exceeded(_))), "{organization}: {refused:?}");
    }
    assert!(store.set_limits("acme", Limits { max_pending: Some(4), ..Limits::default() }).await.unwrap());
    create(store, "acme").await.unwrap();
    assert!(create(store, "acme").await.is_err());
    // The configuration may change without them being forgotten.
    store.set_quotas(quotas);
    assert_eq!(store.quotas().of("acme").max_pending, Some(4));
    fixture.assert_sound().await;
}

async fn another_server_has_them_once_it_looks(fixture: Fixture) {
    let other = fixture.second_server().await;
    fixture.store.create_organization("acme", Limits { weight: Some(5), ..Limits::default() }).await.unwrap();
    other.refresh_limits().await.unwrap();
    assert_eq!(other.quotas().of("acme").weight, 5);
    fixture.store.set_limits("acme", Limits::default()).await.unwrap();
    other.refresh_limits().await.unwrap();
    assert_eq!(other.quotas().of("acme").weight, 1);
}

against_both_engines!(
    an_organization_is_made_once,
    limits_of_the_store_go_before_the_configuration,
    another_server_has_them_once_it_looks,
);
