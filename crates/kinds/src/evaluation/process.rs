//! One evaluation process, from the server's side.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use evidence::rego::HttpRequest;
use futures_util::TryStreamExt;
use store::{Content, ContentError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::calls::{Calls, MAX_AT_ONCE};
use super::wire::{Answer, Answered, Job, MAX_LINE, Reply, Setup, Task};

/// How many bytes of the process's standard error are kept.
const MAX_COMPLAINT: usize = 16 * 1024;
/// The maximum length, in bytes, of the calls that a process requests at once.
const MAX_ASKED: usize = 8 * 1024 * 1024;
/// How long a process that closed its output may take to end.
const END: Duration = Duration::from_secs(2);

/// How to start a process that calls [`serve`](super::serve) with its standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The program, usually the server's own.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// A process that waits for a job or does one; it is killed when this is dropped.
pub(super) struct Process {
    child: Option<Child>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    complaint: JoinHandle<Vec<u8>>,
    /// The value that the current job holds until the process has ended.
    held: Option<Box<dyn Send>>,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The content could not be read.
    Content(ContentError),
    /// The process ended, or wrote something that is not an answer; with its last error output.
    Ended { status: Option<ExitStatus>, complaint: String },
}

impl Process {
    /// Starts a process.
    ///
    /// To be called on a thread that lives as long as the server, such as the async threads: for the system, the parent
    /// of the process has ended when the thread that started it ends.
    pub async fn start(worker: &Worker, setup: &Setup) -> io::Result<Process> {
        let mut command = Command::new(&worker.program);
        // A process group of its own: Ctrl-C in a terminal signals a whole group, and a server that drains still needs
        // the verdicts of its processes.
        command.args(&worker.args).process_group(0).kill_on_drop(true);
        // One arena: each additional one reserves address space, which counts against the limit.
        command.env_clear().env("MALLOC_ARENA_MAX", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lost = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(lost)?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(lost)?);
        let complaint = tokio::spawn(complaint(child.stderr.take().ok_or_else(lost)?));
        let mut process = Process { child: Some(child), stdin, stdout, complaint, held: None };
        let mut line = serde_json::to_vec(setup)?;
        line.push(b'\n');
        process.stdin.write_all(&line).await?;
        Ok(process)
    }

    /// Keeps a value until the job ends, or until the process has ended if it is killed during the job.
    pub fn hold(&mut self, held: impl Send + 'static) {
        self.held = Some(Box::new(held));
    }

    /// Drops the value that the job held.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Gives the process a job and returns its answer, with the output. `most` bounds the output; `calls` makes the
    /// calls that the process requests.
    pub async fn work(
        &mut self,
        task: Task,
        request: &[u8],
        content: Option<Content>,
        most: usize,
        calls: Option<&Calls>,
    ) -> Result<(Reply, Vec<u8>), Broken> {
        match self.converse(task, request, content, most, calls).await {
            Ok(answered) => Ok(answered),
            Err(Wrong::Content(error)) => Err(Broken::Content(error)),
            Err(Wrong::Pipe) => Err(self.end().await),
        }
    }

    async fn converse(
        &mut self,
        task: Task,
        request: &[u8],
        content: Option<Content>,
        most: usize,
        calls: Option<&Calls>,
    ) -> Result<(Reply, Vec<u8>), Wrong> {
        let size = content.as_ref().map_or(0, |content| content.size);
        let job = Job { task, request: request.len(), content: usize::try_from(size).map_err(|_| Wrong::Pipe)? };
        let mut line = serde_json::to_vec(&job)?;
        line.push(b'\n');
        line.extend_from_slice(request);
        self.stdin.write_all(&line).await?;
        if let Some(mut content) = content {
            while let Some(piece) = content.try_next().await.map_err(Wrong::Content)? {
                self.stdin.write_all(&piece).await?;
            }
        }
        loop {
            let mut line = Vec::new();
            (&mut self.stdout).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            let reply: Reply = serde_json::from_slice(&line)?;
            match (&reply.answer, calls) {
                (Answer::Asks { size }, Some(calls)) => {
                    let asked = self.bytes(*size, MAX_ASKED).await?;
                    let asked: Vec<HttpRequest> = serde_json::from_slice(&asked)?;
                    if asked.len() > MAX_AT_ONCE {
                        return Err(Wrong::Pipe);
                    }
                    let answered = serde_json::to_vec(&calls.make(asked).await)?;
                    let mut line = serde_json::to_vec(&Answered { size: answered.len() })?;
                    line.push(b'\n');
                    self.stdin.write_all(&line).await?;
                    self.stdin.write_all(&answered).await?;
                }
                (Answer::Asks { .. }, None) => return Err(Wrong::Pipe),
                (Answer::Output { size }, _) => {
                    let output = self.bytes(*size, most).await?;
                    return Ok((reply, output));
                }
                _ => return Ok((reply, Vec::new())),
            }
        }
    }

    /// The bytes that follow a line.
    async fn bytes(&mut self, size: usize, most: usize) -> Result<Vec<u8>, Wrong> {
        if size > most {
            return Err(Wrong::Pipe);
        }
        let mut bytes = vec![0; size];
        self.stdout.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// How a process that gave no answer ended.
    async fn end(&mut self) -> Broken {
        let Some(child) = &mut self.child else { return Broken::Ended { status: None, complaint: String::new() } };
        // It may have closed its output without ending: then it is killed.
        let status = match tokio::time::timeout(END, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => None,
        };
        let _ = child.start_kill();
        let complaint = tokio::time::timeout(END, &mut self.complaint).await;
        let complaint = complaint.ok().and_then(Result::ok).unwrap_or_default();
        Broken::Ended { status, complaint: String::from_utf8_lossy(&complaint).into_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.complaint.abort();
        let Some(mut child) = self.child.take() else { return };
        // The held value is dropped once the process has ended, and not as soon as nobody waits for it any more.
        let (held, killed) = (self.held.take(), child.start_kill());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _held = held;
                if killed.is_ok() {
                    // The process has been killed; nothing else can follow.
                    let _ = child.wait().await;
                }
            });
        }
    }
}

/// What went wrong in the communication.
enum Wrong {
    Content(ContentError),
    /// The process does not read, or does not answer as expected.
    Pipe,
}

impl From<io::Error> for Wrong {
    fn from(_: io::Error) -> Wrong {
        Wrong::Pipe
    }
}

impl From<serde_json::Error> for Wrong {
    fn from(_: serde_json::Error) -> Wrong {
        Wrong::Pipe
    }
}

/// The last part of what a process writes to its standard error.
async fn complaint(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 1024]);
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..read]);
        kept.drain(..kept.len().saturating_sub(MAX_COMPLAINT));
    }
    kept
}
