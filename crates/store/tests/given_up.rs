//! Callers that leave half-way, as an HTTP client does that hangs up.
use operations::{Access, NewOperation, Search};
use store::{PostgresStore, SearchOperations as _, SearchOrder, SearchRequest, SearchStart, Store as _};
use testkit::{Cluster, Durability};

use crate::support::*;

/// Otherwise the next call on its connection reads what was there when the transaction began, and what it writes is
/// refused or, in another transaction, rolled back when that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_who_leaves_while_a_transaction_begins_leaves_none_open() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let proxy = cluster.proxy().await.unwrap();
    // With one connection to read by, so that the next call comes on the one that was left.
    let store = PostgresStore::connect(&proxy.url(&cluster.database().await.unwrap()), 1).await.unwrap();
    let access = Access::organization("acme");
    let request = SearchRequest {
        search: Search::default(),
        order: SearchOrder::Newest,
        start: SearchStart::Page(0),
        page_size: 5,
    };
    for number in 0..10 {
        store.search(&access, &request).await.unwrap();
        proxy.freeze();
        let given_up = polled(store.search(&access, &request), 1).await;
        assert!(given_up.is_none(), "it waits for the answer to its first statement");
        proxy.thaw();
        store.register_consumer(&format!("consumer-{number}")).await.unwrap();
        let created = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap();
        assert!(store.get(&access, created[0].id).await.unwrap().is_some(), "it reads what was committed before");
    }
    store.close().await;
}
