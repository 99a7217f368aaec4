//! The web page on PostgreSQL: the list, its filter and counts, one operation, and what is done to it.

use std::sync::Arc;

use store::{PostgresStore, Store};
use testkit::{Cluster, Durability};

use crate::harness::Server;
use crate::{page, page_list, page_operation};

/// A server with a database of its own.
async fn server(cluster: &Cluster) -> Server {
    let url = cluster.database().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(PostgresStore::connect(&url, 6).await.unwrap());
    Server::with(|services| services.store = store).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_and_does_the_same_on_postgres() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let stocked = server(&cluster).await;
    page_list::stock(&stocked).await;
    page_list::filtered(&stocked).await;
    page_list::counted(&stocked).await;
    page_operation::shown_and_leading_on(server(&cluster).await).await;
    page_operation::related(server(&cluster).await).await;
    page_operation::retried_with_an_edited_input(server(&cluster).await).await;
    page::acted_on(server(&cluster).await).await;
}
