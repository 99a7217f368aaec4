//! TLS to PostgreSQL, by the parameters of the URL.

use operations::{Access, NewOperation};
use sqlx::{Connection, Executor, PgConnection};
use store::{PostgresStore, Store, StoreError};
use testkit::{Cluster, Durability};

/// For these tests only: self-signed for `localhost` (see the tests of `server`, which have the same).
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/http/tls/localhost.crt");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/http/tls/localhost.key");

/// A database of a server that takes encrypted connections only; its URL names the host that the certificate is for.
async fn encrypted(cluster: &Cluster) -> String {
    let url = cluster.database().await.unwrap().replace("127.0.0.1", "localhost");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // The server writes its files itself, so that they are its own.
    for (name, path) in [("server.crt", CERTIFICATE), ("server.key", KEY)] {
        let content = std::fs::read(path).unwrap();
        let object: sqlx::postgres::types::Oid =
            sqlx::query_scalar("SELECT lo_from_bytea(0, $1)").bind(content).fetch_one(&mut connection).await.unwrap();
        sqlx::query("SELECT lo_export($1, $2)").bind(object).bind(name).execute(&mut connection).await.unwrap();
    }
    connection.execute("COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; chmod 600 server.key'").await.unwrap();
    connection.execute("COPY (SELECT 'hostssl all all all trust') TO PROGRAM 'cat >pg_hba.conf'").await.unwrap();
    connection.execute("ALTER SYSTEM SET ssl = on").await.unwrap();
    connection.close().await.unwrap();
    cluster.stop().unwrap();
    cluster.start_again().unwrap();
    url
}

#[tokio::test]
async fn connections_are_encrypted_and_the_server_is_verified() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let url = encrypted(&cluster).await;

    let verified = format!("{url}?sslmode=verify-full&sslrootcert={CERTIFICATE}");
    let store = PostgresStore::connect(&verified, 2).await.unwrap();
    let operation = store.create("acme", vec![NewOperation::of_kind("scan")], None).await.unwrap().remove(0);
    assert_eq!(store.get(&Access::organization("acme"), operation.id).await.unwrap(), Some(operation));
    let mut connection = PgConnection::connect(&verified).await.unwrap();
    let plain: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'longrun server' AND NOT ssl",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(plain, 0);

    // Nobody vouches for the certificate: the system's roots do not.
    let stranger = PostgresStore::connect(&format!("{url}?sslmode=verify-full"), 2).await.err().unwrap();
    assert!(matches!(stranger, StoreError::Unavailable(_)), "{stranger:?}");
    assert!(stranger.to_string().contains("invalid peer certificate"), "{stranger}");
    let plain = PostgresStore::connect(&format!("{url}?sslmode=disable"), 2).await.err().unwrap();
    assert!(matches!(plain, StoreError::Unusable(_)) && plain.to_string().contains("no encryption"), "{plain:?}");
}
