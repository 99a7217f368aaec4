//! A temporary PostgreSQL cluster, from the server binaries that the distribution installs, and a [`Proxy`] that
//! disturbs the connections to it.
//!
//! It listens only on a free port of 127.0.0.1, runs as an unprivileged user (PostgreSQL refuses root), and is stopped
//! and removed when the [`Cluster`] is dropped or the process that started it ends, however it ends: the cluster's
//! keeper, a small shell script, waits for its standard input to close. In between, it can be stopped, crashed and
//! restarted with its data, and have standbys.

mod disk;
mod figures;
mod keeper;
mod notifications;
mod programs;
mod proxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;

pub use disk::Disk;
pub use figures::{report, spread};
pub use proxy::Proxy;

use keeper::Keeper;
use programs::{Owner, programs, run, unprivileged};

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
    /// A file or a process could not be created.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// initdb, pg_basebackup or postgres failed.
    #[error("{program} failed: {said}")]
    Failed {
        /// The program that failed.
        program: &'static str,
        /// Its last output.
        said: String,
    },
    /// A database could not be created.
    #[error("{0}")]
    Database(#[from] sqlx::Error),
}

/// How durable the cluster's data are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in production, for benchmarks.
    Full,
    /// No fsync, for tests: they kill servers but do not cut the power.
    None,
}

/// A cluster. Dropping it stops and removes it.
#[derive(Debug)]
pub struct Cluster {
    keeper: Keeper,
    port: u16,
    durability: Durability,
    databases: AtomicU32,
    data: PathBuf,
    owner: Owner,
}

impl Cluster {
    /// Creates and starts a cluster; returns when it accepts connections.
    ///
    /// # Errors
    /// [`ClusterError::NotInstalled`], or what went wrong.
    pub fn start(durability: Durability) -> Result<Cluster, ClusterError> {
        Cluster::initialized(durability, None)
    }

    /// The same on a disk that can be full. If the server cannot continue without space, it ends, and waits to be
    /// restarted.
    ///
    /// # Errors
    /// Those of [`Cluster::start`].
    pub fn start_on(disk: &Disk, durability: Durability) -> Result<Cluster, ClusterError> {
        Cluster::initialized(durability, Some(disk))
    }

    fn initialized(durability: Durability, disk: Option<&Disk>) -> Result<Cluster, ClusterError> {
        Cluster::make(durability, disk, "initdb", |command, data| {
            command.arg("-D").arg(data).args([
                "-U",
                USER,
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ]);
        })
    }

    /// Creates and starts a standby that follows this cluster; returns when it accepts connections.
    ///
    /// # Errors
    /// What went wrong.
    pub fn standby(&self) -> Result<Cluster, ClusterError> {
        let port = self.port.to_string();
        Cluster::make(self.durability, None, "pg_basebackup", |command, data| {
            command.args(["-h", "127.0.0.1", "-p", &port, "-U", USER, "-D"]).arg(data);
            command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
        })
    }

    /// Creates and starts a standby without which nothing is committed here from now on, so that it has everything that
    /// was acknowledged; returns when it has caught up.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn synchronous_standby(&self) -> Result<Cluster, ClusterError> {
        let standby = self.standby()?;
        let mut connection = self.connection().await?;
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
        connection.execute("SELECT pg_reload_conf()").await?;
        let sql = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'";
        while !sqlx::query_scalar(sql).fetch_one(&mut connection).await? {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        connection.close().await?;
        Ok(standby)
    }

    /// Makes a standby a primary; returns when it accepts writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn promote(&self) -> Result<(), ClusterError> {
        let mut connection = self.connection().await?;
        let is_promoted: bool = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut connection).await?;
        connection.close().await?;
        if !is_promoted {
            return Err(ClusterError::Failed { program: "postgres", said: "it was not promoted in time".to_owned() });
        }
        Ok(())
    }

    /// Fills a folder with `program`, and serves the result.
    fn make(
        durability: Durability,
        disk: Option<&Disk>,
        program: &'static str,
        arguments: impl FnOnce(&mut Command, &Path),
    ) -> Result<Cluster, ClusterError> {
        let programs = programs().ok_or(ClusterError::NotInstalled)?;
        let folder = tempfile::Builder::new().prefix("longrun-postgres-").tempdir()?;
        let owner = unprivileged(folder.path())?;
        let mut command = Command::new(programs.join(program));
        arguments(&mut command, &folder.path().join("data"));
        match run(&mut command, owner)? {
            Ok(()) => serve(&programs, folder, owner, durability, disk),
            Err(said) => Err(ClusterError::Failed { program, said }),
        }
    }

    /// Creates an empty database; returns its URL.
    ///
    /// # Errors
    /// [`ClusterError::Database`].
    pub async fn database(&self) -> Result<String, ClusterError> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connection().await?;
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    /// The URL on this cluster of the database that `url` names on another one: on a standby, of the primary's
    /// database.
    pub fn same_database(&self, url: &str) -> String {
        self.url(url.rsplit('/').next().unwrap_or(url))
    }

    /// Stops the server gracefully: connections are ended, committed data are kept. Returns when it is down.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&self) -> Result<(), ClusterError> {
        self.keeper.command("INT", false)
    }

    /// Stops the server as in a crash: immediately, so that it recovers at its next start.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn crash(&self) -> Result<(), ClusterError> {
        self.keeper.command("QUIT", false)
    }

    /// Kills the server with `SIGKILL`; its sessions end when they notice.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self) -> Result<(), ClusterError> {
        self.keeper.command("KILL", false)
    }

    /// Returns when the server has ended without being stopped.
    ///
    /// # Errors
    /// When it does not.
    pub fn has_ended(&self) -> Result<(), ClusterError> {
        self.keeper.has_ended()
    }

    /// Restarts the server after [`Cluster::stop`] or [`Cluster::crash`], on its port and with its data; returns when
    /// it accepts connections.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        self.keeper.command("start", true)
    }

    /// Stops the server, makes it continue with this transaction number, as if it had used all those before it, and
    /// restarts it.
    ///
    /// # Errors
    /// When it does not stop or start, or when it cannot continue with the number.
    pub fn go_on_with_transaction(&self, number: u32) -> Result<(), ClusterError> {
        self.stop()?;
        let programs = programs().ok_or(ClusterError::NotInstalled)?;
        // Commit states are stored in files of 32 pages, of 32,768 transactions each: a file that no transaction has
        // used is all zeros.
        let file = self.data.join(format!("pg_xact/{:04X}", number / (32 * 32_768)));
        let mut zeros = Command::new("dd");
        zeros.args(["if=/dev/zero", "bs=8192", "count=32"]).arg(format!("of={}", file.display()));
        let mut reset = Command::new(programs.join("pg_resetwal"));
        reset.arg("-D").arg(&self.data).args(["-f", "-x", &number.to_string()]);
        for (program, command) in [("dd", &mut zeros), ("pg_resetwal", &mut reset)] {
            if let Err(said) = run(command, self.owner)? {
                return Err(ClusterError::Failed { program, said });
            }
        }
        self.start_again()
    }

    /// A proxy in front of this server.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn proxy(&self) -> std::io::Result<Proxy> {
        Proxy::start(self.address()).await
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    async fn connection(&self) -> Result<PgConnection, ClusterError> {
        let options: PgConnectOptions = self.url("postgres").parse()?;
        Ok(options.connect().await?)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

/// Starts the server of a folder on a free port.
fn serve(
    programs: &Path,
    folder: TempDir,
    owner: Owner,
    durability: Durability,
    disk: Option<&Disk>,
) -> Result<Cluster, ClusterError> {
    let mut said = String::new();
    for _ in 0..TRIES {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = server(programs.join("postgres"), &folder.path().join("data"), port, durability);
        if let Some(disk) = disk {
            disk.under(&mut server).args(["-c", "restart_after_crash=off"]);
        }
        match Keeper::start(&server, folder.path(), owner)? {
            Ok(keeper) => {
                // From here on, the keeper removes it.
                let data = folder.keep().join("data");
                return Ok(Cluster { keeper, port, durability, databases: AtomicU32::new(0), data, owner });
            }
            Err(complaint) => said = complaint,
        }
    }
    Err(ClusterError::Failed { program: "postgres", said })
}

fn server(program: PathBuf, data: &Path, port: u16, durability: Durability) -> Command {
    let on = if durability == Durability::Full { "on" } else { "off" };
    let mut command = Command::new(program);
    command.arg("-D").arg(data);
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
    command
}
