//! The throw-away cluster itself: it keeps its data across a stop and a crash, and its standbys follow it.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgPool};
use testkit::{Cluster, Durability};

/// Longer than replay takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn what_it_holds_survives_a_stop_and_a_crash_and_reaches_its_standby() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = cluster.database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE t AS SELECT 1 AS n").execute(&pool).await.unwrap();

    cluster.stop().unwrap();
    assert!(PgConnection::connect(&url).await.is_err(), "nobody listens");
    cluster.start_again().unwrap();
    sqlx::query("INSERT INTO t VALUES (2)").execute(&pool).await.unwrap();
    cluster.crash().unwrap();
    cluster.start_again().unwrap();
    let sum: i64 = sqlx::query_scalar("SELECT sum(n) FROM t").fetch_one(&pool).await.unwrap();
    assert_eq!(sum, 3);

    let standby = cluster.standby().unwrap();
    sqlx::query("INSERT INTO t VALUES (3)").execute(&pool).await.unwrap();
    let follower = PgPool::connect(&standby.same_database(&url)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (sum, follows): (i64, bool) =
            sqlx::query_as("SELECT sum(n), pg_is_in_recovery() FROM t").fetch_one(&follower).await.unwrap();
        assert!(follows, "it is a standby");
        if sum == 6 {
            break;
        }
        assert!(Instant::now() < deadline, "the standby does not follow: {sum}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
