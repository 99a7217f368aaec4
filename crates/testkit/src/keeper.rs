//! The process that manages a server: it runs it, stops it and restarts it on command, and removes everything when its
//! standard input closes, that is, at the latest when the process that gives the commands ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::ClusterError;
use crate::programs::{Owner, owned};

/// Longer than a server takes to start or to stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the keeper prints when its server has ended, for whatever reason.
const ENDED: &str = "keeper: the server has ended";

/// Runs `"$@"`. Each line of standard input is a command: `start`, or the signal that stops the server.
const SCRIPT: &str = r#"
    # A signal to the whole group (a Ctrl-C, a time-out) is for the tests; what they leave must still be removed.
    trap '' HUP INT TERM
    folder=$1; shift
    run() { ( "$@" </dev/null; echo "keeper: the server has ended" >&2 ) & }
    end() { kill -s "$1" "$(head -n 1 "$folder/data/postmaster.pid")" 2>/dev/null; wait; }
    run "$@"
    while read -r word; do
        case $word in
            start) run "$@" ;;
            *) end "$word" ;;
        esac
    done
    end QUIT 2>/dev/null
    rm -rf "$folder"
"#;

/// News in the server's output.
enum News {
    Ready,
    /// With the last line before it.
    Ended(String),
}

/// A running keeper. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub(crate) struct Keeper {
    process: Child,
    /// The commands, and their outcomes: one command at a time.
    channel: Mutex<(Option<ChildStdin>, Receiver<News>)>,
}

impl Keeper {
    /// Starts a server whose data are in `folder/data`; the inner error is the server's output if it did not start.
    pub(crate) fn start(server: &Command, folder: &Path, owner: Owner) -> Result<Result<Keeper, String>, ClusterError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "keeper"]).arg(folder).arg(server.get_program()).args(server.get_args());
        command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        owned(&mut command, owner).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let stdin = process.stdin.take().expect("it was piped");
        let stderr = process.stderr.take().expect("it was piped");
        let (sender, news) = channel();
        // Read to the end, because the server would block on a full pipe.
        std::thread::spawn(move || listen(stderr, &sender));
        match wait(&news, true) {
            Ok(()) => Ok(Ok(Keeper { process, channel: Mutex::new((Some(stdin), news)) })),
            Err(said) => {
                // The folder still belongs to its creator: the keeper must not remove it.
                process.kill()?;
                process.wait()?;
                Ok(Err(said))
            }
        }
    }

    /// Gives a command; returns when the server is up or down, as requested.
    pub(crate) fn command(&self, word: &str, up: bool) -> Result<(), ClusterError> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, news) = &mut *channel;
        while news.try_recv().is_ok() {}
        writeln!(stdin.as_mut().expect("closed by the drop only"), "{word}")?;
        wait(news, up).map_err(|said| ClusterError::Failed { program: "postgres", said })
    }

    /// Returns when the server has ended.
    pub(crate) fn has_ended(&self) -> Result<(), ClusterError> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        wait(&channel.1, false).map_err(|said| ClusterError::Failed { program: "postgres", said })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Closing its standard input makes the keeper stop the server and remove the folder.
        self.channel.get_mut().unwrap_or_else(PoisonError::into_inner).0 = None;
        let _ = self.process.wait();
    }
}

fn listen(stderr: ChildStderr, news: &Sender<News>) {
    let mut last = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let told = if line.contains("ready to accept") {
            news.send(News::Ready)
        } else if line == ENDED {
            news.send(News::Ended(std::mem::take(&mut last)))
        } else {
            last = line;
            Ok(())
        };
        // Nobody listens any more, but the pipe is still read to its end.
        drop(told);
    }
}

fn wait(news: &Receiver<News>, up: bool) -> Result<(), String> {
    loop {
        match news.recv_timeout(PATIENCE) {
            Ok(News::Ready) if up => return Ok(()),
            Ok(News::Ended(_)) if !up => return Ok(()),
            Ok(News::Ready) => {}
            Ok(News::Ended(said)) => return Err(said),
            Err(_) => return Err("nothing in time".to_owned()),
        }
    }
}
