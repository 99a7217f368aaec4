//! Opening a store by the command line: which commands make one, what they say of one that cannot be used, and who may
//! read its files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::common::{Process, Ran, Server, command, run_in};
use store::{PostgresStore, SqliteStore, Store};
use tempfile::tempdir;
use testkit::{Cluster, Durability};

/// Commands that work on an existing store.
const COMMANDS: [&[&str]; 9] = [
    &["token", "list"],
    &["token", "revoke", "tok_1"],
    &["doctor"],
    &["backup", "copy"],
    &["organizations", "list"],
    &["organizations", "pause", "acme"],
    &["kinds", "list"],
    &["kinds", "pause", "scan"],
    &["kinds", "resume", "scan"],
];

const CREATE: [&str; 9] =
    ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "--store"];

fn on(folder: &Path, command: &[&str], store: &str) -> Ran {
    run_in(folder, &[command, &["--store", store]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_meant_to_make_a_store_makes_one() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    for command in COMMANDS {
        let ran = on(folder.path(), command, "sqlite:typo/longrun.db").expect(4);
        ran.says("there is no store at typo/longrun.db").says("`longrun migrate`");
        on(folder.path(), command, &database).expect(4).says("there is no store in the database");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    assert!(!PostgresStore::is_there(&database).await.unwrap());

    for store in ["sqlite:longrun.db", &database] {
        let create = [&CREATE[..], &[store, "-o", "id"]].concat();
        let first = run_in(folder.path(), &create).expect(0).says("created a new one");
        assert!(first.line().starts_with("lrn_"));
        assert_eq!(run_in(folder.path(), &create).expect(0).stderr, "", "it is there now");
        on(folder.path(), &["doctor"], store).expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_an_older_version_is_migrated_by_migrate_only() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let file = folder.path().join("longrun.db");
    SqliteStore::open(&file).await.unwrap().close().await;
    PostgresStore::connect(&database, 2).await.unwrap().close().await;
    // The schema is there already; only the note of that is missing.
    let forget = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let sqlite = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(forget).execute(&sqlite).await.unwrap();
    sqlite.close().await;
    let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
    let postgres = sqlx::PgPool::connect_with(options.options([("search_path", "longrun")])).await.unwrap();
    sqlx::query(forget).execute(&postgres).await.unwrap();
    postgres.close().await;

    for store in ["sqlite:longrun.db", &database] {
        for command in COMMANDS {
            on(folder.path(), command, store).expect(2).says("run `longrun migrate`");
        }
        run_in(folder.path(), &[&CREATE[..], &[store]].concat()).expect(2).says("run `longrun migrate`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_database_cannot_be_used_is_told_without_the_password() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
    let admin = sqlx::PgPool::connect_with(options).await.unwrap();
    for sql in [
        "CREATE ROLE visitor LOGIN PASSWORD 'right'",
        // From here on this user needs its password, and no connection is encrypted.
        "COPY (SELECT 'host all visitor all scram-sha-256' UNION ALL SELECT 'host all all all trust') TO PROGRAM 'cat >pg_hba.conf'",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(sql).execute(&admin).await.unwrap();
    }
    admin.close().await;
    let at = database.split_once('@').unwrap().1;
    let host = at.split_once('/').unwrap().0;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // 6: a fault that a later call may find gone, since nothing answered; 2: one that must be mended first.
    for (url, code, cause) in [
        (format!("postgres://visitor:wr0ng@{at}"), 2, "password authentication failed for user \"visitor\""),
        (format!("postgres://visitor@{at}?password=wr0ng"), 2, "password authentication failed for user \"visitor\""),
        (format!("postgres://longrun:wr0ng@{host}/nosuch"), 2, "database \"nosuch\" does not exist"),
        ("postgres://longrun:wr0ng@no-such-host.invalid/l".to_owned(), 6, "failed to lookup address"),
        (format!("postgres://longrun:wr0ng@127.0.0.1:{free}/l"), 6, "Connection refused"),
        (format!("postgres://longrun:wr0ng@{at}?sslmode=require"), 6, "no encrypted connection"),
        (format!("postgres://visitor:right@{at}"), 2, "permission denied for database"),
    ] {
        let ran = on(folder.path(), &["migrate"], &url).expect(code).says(cause);
        assert!(!ran.stderr.contains("wr0ng") && !ran.stderr.contains("right"), "{}", ran.stderr);
        let serve = ["serve", "--listen", "127.0.0.1:0", "--store", &url];
        let ran = run_in(folder.path(), &serve).expect(code).says(cause);
        assert!(!ran.stderr.contains("wr0ng") && !ran.stderr.contains("right"), "{}", ran.stderr);
    }
}

#[test]
fn no_command_shows_a_password_or_passes_over_a_parameter() {
    let folder = tempdir().unwrap();
    let hidden = |ran: Ran| {
        assert!(!ran.stderr.contains("s3cret") && !ran.stdout.contains("s3cret"), "{}{}", ran.stdout, ran.stderr);
        ran
    };
    let url = "postgres://me@127.0.0.1:1/l?password=s3cret&sslmode=require";
    let shown = hidden(on(folder.path(), &["config", "show"], url).expect(0));
    assert!(shown.stdout.contains("postgres://me@127.0.0.1:1/l?password=****&sslmode=require"), "{}", shown.stdout);
    hidden(on(folder.path(), &["config", "show", "-o", "json"], url).expect(0));
    let url = "postgres://me:s3cret@127.0.0.1:1/l?sslmod=require";
    for command in [&["config", "check"][..], &["serve"], &["doctor"], &["migrate"], &["bench", "latency"]] {
        let refused = hidden(on(folder.path(), command, url).expect(2));
        refused.says("unknown parameter \"sslmod\"").says("sslmode");
    }
    std::fs::write(folder.path().join("bad.toml"), "listen = \"127.0.0.1:0\"\nstore = postgres://u:s3cret@h/d\n")
        .unwrap();
    let refused = hidden(run_in(folder.path(), &["config", "check", "--config", "bad.toml"]).expect(2));
    refused.says("bad.toml is not valid TOML: line 2, column 9: string values must be quoted");
    for (from, to) in [("sqlite:a.db", url), (url, "postgres://h/d")] {
        let refused = hidden(run_in(folder.path(), &["migrate", "--from", from, "--to", to]).expect(2));
        refused.says("unknown parameter \"sslmod\"");
    }
}

#[test]
fn a_leaked_secret_is_revoked_and_not_repeated() {
    let folder = tempdir().unwrap();
    let create = [&CREATE[..], &["sqlite:longrun.db", "-o", "id"]].concat();
    let secret = run_in(folder.path(), &create).expect(0).line();
    let listed = |state: &str| {
        let tokens = on(folder.path(), &["token", "list", "-o", "json"], "sqlite:longrun.db").expect(0).json();
        assert_eq!(tokens[0]["state"], state);
        tokens[0]["id"].as_str().unwrap().to_owned()
    };
    let revoke = |secret: &str| {
        let ran = on(folder.path(), &["token", "revoke", secret], "sqlite:longrun.db");
        assert!(!ran.stdout.contains("lrn_") && !ran.stderr.contains("lrn_"), "{}{}", ran.stdout, ran.stderr);
        ran
    };
    revoke(&secret[..secret.len() - 1]).expect(2).says("looks like the secret of a token");
    // Well-formed, but nobody's.
    let foreign = tempdir().unwrap();
    revoke(&run_in(foreign.path(), &create).expect(0).line()).expect(2).says("no token of this store has this secret");
    let id = listed("valid");
    assert_eq!(revoke(&secret).expect(0).line(), format!("revoked {id}"));
    listed("revoked");
}

/// Runs a command with a umask that removes no permission.
fn open_handed(folder: &Path, args: &[&str]) -> Command {
    let binary = command();
    let mut open_handed = Command::new("sh");
    open_handed.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(binary.get_program()).args(args).current_dir(folder);
    for (name, _) in binary.get_envs() {
        open_handed.env_remove(name);
    }
    open_handed
}

/// Asserts that nobody but its user has a right on anything in a folder, the folder included; returns the names of the
/// files.
#[track_caller]
fn private(folder: &Path) -> Vec<String> {
    let (mut left, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(path) = left.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let rights = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.mode() & 0o7777, rights, "{}", path.display());
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_its_users_alone_whatever_the_umask() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    let token = data.join("token").display().to_string();
    // The kind prints the umask of the command that it runs, which is not the server's own.
    std::fs::write(
        folder.path().join("longrun.toml"),
        "[evidence]\nfolder = \"data/evidence\"\n[kinds.umask]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"umask\"]\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("evidence.json"), "{}").unwrap();
    for store in ["sqlite:data/longrun.db", &database] {
        let args = [&CREATE[..], &[store, "-o", "id"]].concat();
        let made = open_handed(folder.path(), &args).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::write(&token, made.stdout).unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--store", store];
        let server = Server::of(&mut open_handed(folder.path(), &serve));
        let call = |args: &[&str]| {
            run_in(folder.path(), &[args, &["--url", &server.url, "--token-file", &token]].concat()).expect(0)
        };
        call(&["evidence", "put", "evidence.json"]);
        let id = call(&["ops", "create", "--kind", "umask", "-o", "id"]).line();
        call(&["ops", "wait", &id, "--quiet", "--timeout", "60s"]);
        let operation = call(&["ops", "get", &id, "-o", "json"]).json();
        assert_eq!(operation["operation"]["output"], "0000\n");
        let files = private(&data);
        if store.starts_with("sqlite:") {
            for name in ["longrun.db", "longrun.db-wal", "longrun.db-shm", "longrun.db.lock"] {
                assert!(files.iter().any(|file| file == name), "{name} is not among {files:?}");
            }
        }
        assert!(files.iter().any(|file| file.len() == 64), "no evidence among {files:?}");
        let copy = format!("copy-{}", &store[..6]);
        let backed_up = open_handed(folder.path(), &["backup", &copy, "--store", store]).output().unwrap();
        assert!(backed_up.status.success(), "{backed_up:?}");
        assert_eq!(private(&folder.path().join(&copy)).len(), 3, "store, manifest, evidence");
        drop(server);
    }
    let restore = ["restore", "copy-sqlite", "--store", "sqlite:again/longrun.db", "--evidence", "again/evidence"];
    let restored = open_handed(folder.path(), &restore).output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    private(&folder.path().join("again"));
}

#[test]
fn one_server_at_a_time_by_whatever_name_the_file_is_found() {
    let folder = tempdir().unwrap();
    let serve = |store: &str| {
        let mut serve = command();
        serve.current_dir(folder.path()).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "",
            "--store",
            store,
        ]);
        serve
    };
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../real.db", folder.path().join("elsewhere/symbolic.db")).unwrap();
    // It leads nowhere yet: the server makes the file behind it.
    let mut first = Process::start(&mut serve("sqlite:elsewhere/symbolic.db"));
    first.line_with("\"listening\"");
    std::fs::hard_link(folder.path().join("real.db"), folder.path().join("elsewhere/hard.db")).unwrap();
    for name in ["real.db", "elsewhere/symbolic.db", "elsewhere/hard.db", "./elsewhere/../real.db"] {
        let second = serve(&format!("sqlite:{name}")).output().unwrap();
        let said = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(2), "{said}");
        assert!(said.contains("another longrun is using"), "{said}");
        on(folder.path(), &["migrate"], &format!("sqlite:{name}")).expect(2).says("another longrun is using");
    }
    // Tools work beside it, and its own locks on the database hold.
    run_in(folder.path(), &[&CREATE[..], &["sqlite:real.db"]].concat()).expect(0);
    on(folder.path(), &["doctor"], "sqlite:elsewhere/symbolic.db").expect(0);
    first.signal("TERM");
    assert_eq!(first.exit_code(), 0);
    std::fs::remove_file(folder.path().join("elsewhere/hard.db")).unwrap();
    let mut next = Process::start(&mut serve("sqlite:real.db"));
    next.line_with("\"listening\"");
}
