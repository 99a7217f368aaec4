//! A running command: a process group that does not outlive its [`Process`].

use std::io;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::runner::Job;
use super::{CommandSettings, Runner};

/// A process that is killed, with all of its group, when this is dropped.
pub(super) struct Process {
    child: Child,
    /// The leader of the group. Valid until [`Process::reap`]: the system gives the id to no other process before that.
    pid: Pid,
}

/// The ends of a command's three streams.
pub(super) struct Streams {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

impl Process {
    /// Starts a command. `variables` are added to those of the settings.
    ///
    /// To be called on a thread that lives as long as the server, such as the async threads: for the system, the parent
    /// of the command has ended when the thread that started it ends.
    pub fn start(
        runner: &Runner,
        settings: &CommandSettings,
        variables: &[(&str, String)],
    ) -> io::Result<(Process, Streams)> {
        let job = serde_json::to_string(&Job { parent: std::process::id(), limits: settings.limits })?;
        let mut command = Command::new(&runner.program);
        command.args(&runner.args).arg(job).arg("--").args(&settings.command);
        command.env_clear();
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &settings.working_directory {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        match (pid, child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(pid), Some(stdin), Some(stdout), Some(stderr)) => {
                Ok((Process { child, pid }, Streams { stdin, stdout, stderr }))
            }
            _ => Err(io::Error::other("a process that was just started has no id or no streams")),
        }
    }

    /// Returns when the command has ended. Its id stays reserved until it is [reaped](Process::reap), so that the group
    /// can still be killed without hitting another one.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let pid = self.pid;
        // A thread that waits; it ends with the process, which is killed when its result is no longer wanted.
        let waiting = tokio::task::spawn_blocking(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))
        });
        async move {
            // If it cannot be waited for, it has already ended.
            let _ = waiting.await;
        }
    }

    /// Kills the command, if it still runs, and everything that it started and that still runs.
    pub fn kill(&self) {
        // Once the command is reaped its id may belong to another process.
        if self.child.id().is_some() {
            // The group may have ended already, which is fine.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }

    /// How the command ended.
    pub async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
