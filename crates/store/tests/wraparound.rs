//! A database that has used up its transaction numbers (wraparound).

use std::time::{Duration, Instant};

use operations::{Access, Filter, NewOperation, PageRequest};
use sqlx::PgPool;
use store::{PostgresStore, Store, StoreError};
use testkit::{Cluster, Durability};

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Half of all numbers, beyond which anything older would be in the future. PostgreSQL takes no writes any more when
/// three million of them are left.
const HALF: u32 = 1 << 31;
const LEFT_IN_THE_END: u32 = 3_000_000;

async fn create(store: &PostgresStore) -> Result<operations::Operation, StoreError> {
    Ok(store.create("acme", vec![NewOperation::of_kind("scan")], None).await?.remove(0))
}

async fn total(store: &PostgresStore) -> u64 {
    let page = PageRequest { page: 0, page_size: 1 };
    store.list(&Access::organization("acme"), &Filter::default(), page).await.unwrap().page.total_count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_without_numbers_is_unavailable_until_it_has_some_again() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let store = PostgresStore::connect(&url, 4).await.unwrap();
    let mut created = 0;
    while created < 20 {
        create(&store).await.unwrap();
        created += 1;
    }
    // Switched off by hand: an operator would run what frees numbers again.
    let foreign = PgPool::connect(&url).await.unwrap();
    sqlx::query("ALTER SYSTEM SET autovacuum = off").execute(&foreign).await.unwrap();
    let oldest: i64 = sqlx::query_scalar("SELECT min(datfrozenxid::text::bigint) FROM pg_database")
        .fetch_one(&foreign)
        .await
        .unwrap();
    foreign.close().await;
    let oldest = u32::try_from(oldest).unwrap();
    cluster.go_on_with_transaction(oldest + HALF - LEFT_IN_THE_END + 100).unwrap();

    let (mut refused, deadline) = (0, Instant::now() + PATIENCE);
    loop {
        match create(&store).await {
            Ok(_) => {
                created += 1;
                // The database does it by itself, once it knows that it must.
                if refused > 0 || created > 500 {
                    break;
                }
            }
            Err(StoreError::Unavailable(why)) => {
                refused += 1;
                assert!(Instant::now() < deadline, "it takes no writes any more: {why}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("{refused} creations were refused until the database had numbers again");
    assert!(refused > 0, "it had no numbers");
    assert_eq!(total(&store).await, created, "what was refused is not there, and the rest is");
    assert_eq!(store.doctor().await.unwrap().findings, []);
}
