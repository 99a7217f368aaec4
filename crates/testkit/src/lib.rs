//! A throw-away PostgreSQL cluster, from the server binaries that the distribution installs.
//!
//! It listens on a free port of 127.0.0.1 only, runs as an unprivileged user (PostgreSQL refuses root), and is stopped
//! and removed when the [`Cluster`] is dropped or the process that started it ends, however it ends: the cluster's
//! keeper, a small shell script, waits for its standard input to close.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

/// The user of the cluster, its superuser.
const USER: &str = "longrun";
/// Another process may take the free port between its choice and its use.
const TRIES: u32 = 5;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The server's programs are not on this machine.
    #[error("no PostgreSQL server binaries (initdb, postgres) were found; `make setup` installs them")]
    NotInstalled,
    /// A file or a process could not be made.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// initdb or postgres failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// Which of them.
        program: &'static str,
        /// What it said last.
        said: String,
    },
    /// A database could not be made.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

/// How much the cluster cares for what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in production, for benchmarks.
    Full,
    /// No fsync, for tests: they do not cut the power.
    None,
}

/// A running cluster. Dropping it stops and removes it.
#[derive(Debug)]
pub struct Cluster {
    keeper: Child,
    port: u16,
    databases: AtomicU32,
}

impl Cluster {
    /// Makes and starts a cluster; returns when it takes connections.
    ///
    /// # Errors
    /// [`ClusterError::NotInstalled`], or what went wrong.
    pub fn start(durability: Durability) -> Result<Cluster, ClusterError> {
        let programs = programs().ok_or(ClusterError::NotInstalled)?;
        let folder = tempfile::Builder::new().prefix("longrun-postgres-").tempdir()?;
        let owner = unprivileged(folder.path())?;
        let said = run(
            Command::new(programs.join("initdb")).arg("-D").arg(folder.path().join("data")).args([
                "-U",
                USER,
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]),
            owner,
        )?;
        if let Err(said) = said {
            return Err(ClusterError::Failed { program: "initdb", said });
        }
        let mut said = String::new();
        for _ in 0..TRIES {
            match launch(&programs, folder.path(), owner, durability)? {
                Ok((keeper, port)) => {
                    // From here on the keeper removes it.
                    let _ = folder.keep();
                    return Ok(Cluster { keeper, port, databases: AtomicU32::new(0) });
                }
                Err(complaint) => said = complaint,
            }
        }
        Err(ClusterError::Failed { program: "postgres", said })
    }

    /// Makes an empty database; answers its URL.
    ///
    /// # Errors
    /// [`ClusterError::Database`].
    pub async fn database(&self) -> Result<String, ClusterError> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let options: sqlx::postgres::PgConnectOptions = self.url("postgres").parse()?;
        let mut connection = options.connect().await?;
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Closing its standard input tells the keeper to stop the server and to remove the folder.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The folder of `initdb` and `postgres`: that of the newest version installed.
fn programs() -> Option<PathBuf> {
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let installed = versions.into_iter().rev().map(|(_, path)| path);
    installed.chain(on_path).find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// User and group that the cluster runs as, when this process may not run it itself.
type Owner = Option<(u32, u32)>;

/// When root runs the tests: gives the folder to an unprivileged user.
fn unprivileged(folder: &Path) -> Result<Owner, ClusterError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse::<u32>().ok());
    if uid != Some(0) {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = |name: &str| {
        users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields[..] {
            [found, _, uid, gid, ..] if found == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
            _ => None,
        })
    };
    let (uid, gid) = user("postgres").or_else(|| user("nobody")).ok_or_else(|| ClusterError::Failed {
        program: "initdb",
        said: "PostgreSQL does not run as root, and there is no user postgres or nobody".to_owned(),
    })?;
    chown(folder, Some(uid), Some(gid))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    Ok(Some((uid, gid)))
}

fn owned(command: &mut Command, owner: Owner) -> &mut Command {
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/")
}

/// Runs a program to its end; what it said on standard error when it failed.
fn run(command: &mut Command, owner: Owner) -> std::io::Result<Result<(), String>> {
    let output = owned(command, owner).stdin(Stdio::null()).output()?;
    Ok(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) })
}

/// Runs the server until standard input closes, then stops it at once and removes its folder.
const KEEPER: &str = r#"
    folder=$1; shift
    "$@" </dev/null &
    server=$!
    # When the server ends by itself, so does this script.
    (while kill -0 $server 2>/dev/null; do sleep 0.2; done; kill -TERM $$ 2>/dev/null) &
    watch=$!
    trap 'kill $watch 2>/dev/null; exit 1' TERM
    read -r _
    kill $watch 2>/dev/null
    kill -QUIT $server 2>/dev/null
    wait $server
    rm -rf "$folder"
"#;

/// Starts the server on a free port; what it said when it did not start.
fn launch(
    programs: &Path,
    folder: &Path,
    owner: Owner,
    durability: Durability,
) -> Result<Result<(Child, u16), String>, ClusterError> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let on = if durability == Durability::Full { "on" } else { "off" };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", KEEPER, "keeper"]).arg(folder).arg(programs.join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=512MB".to_owned(),
        "max_wal_size=4GB".to_owned(),
        format!("fsync={on}"),
        format!("full_page_writes={on}"),
        "log_min_messages=log".to_owned(),
    ] {
        command.args(["-c", &setting]);
    }
    owned(&mut command, owner).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut keeper = command.spawn()?;
    let mut said = String::new();
    let stderr = keeper.stderr.take().expect("it was piped");
    let mut lines = BufReader::new(stderr).lines();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.contains("ready to accept connections") => break,
            Some(Ok(line)) => said = line,
            _ => {
                let _ = keeper.wait();
                return Ok(Err(said));
            }
        }
    }
    // Read on, or the server would stop when the pipe is full.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Ok(Ok((keeper, port)))
}
