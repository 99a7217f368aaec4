//! What the tests of the command line share: the real binary, and servers that it runs.
//!
//! Nothing waits by sleeping a guessed time: tests wait for servers by the line that they print, and for states by
//! asking until a deadline. Every server takes a free port.

#![allow(dead_code, clippy::unwrap_used)] // Each test file uses a part of this.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without anything in the environment of this process that it would read.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longrun"));
    let is_heeded = |name: &str| name.starts_with("LONGRUN_") || name.starts_with("OTEL_") || name == "TRACEPARENT";
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_heeded(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    // Nor with the servers that the person who runs the tests has logged in to.
    command.env("XDG_CONFIG_HOME", "/nonexistent").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs the binary in `folder`.
pub fn run_in(folder: &Path, args: &[&str]) -> Ran {
    Ran::of(command().current_dir(folder).args(args).output().unwrap(), args)
}

/// Runs the binary in a folder that is empty.
pub fn run(args: &[&str]) -> Ran {
    run_in(tempfile::tempdir().unwrap().path(), args)
}

/// The output of a command.
#[derive(Debug)]
pub struct Ran {
    args: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output, args: &[&str]) -> Ran {
        Ran {
            args: args.join(" "),
            code: output.status.code().expect("ended by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts the exit code and returns itself.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "longrun {}\n{}\n{}", self.args, self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Standard output as one line.
    #[track_caller]
    pub fn line(&self) -> String {
        let line = self.stdout.strip_suffix('\n').expect("ends its line");
        assert!(!line.contains('\n'), "one line: {line}");
        line.to_owned()
    }

    /// Asserts that the error says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "{text:?} is not in\n{}", self.stderr);
        self
    }

    /// Asserts that the answer has this.
    #[track_caller]
    pub fn shows(self, text: &str) -> Ran {
        assert!(self.stdout.contains(text), "{text:?} is not in\n{}", self.stdout);
        self
    }
}

/// A process whose lines are read as they come, and which does not outlive the test.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts it; both of its outputs are read.
    pub fn start(command: &mut Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Process { child, lines, seen: Vec::new() }
    }

    /// The first line that has not been returned yet and contains `text`.
    #[track_caller]
    pub fn line_with(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line with {text:?} in time; these came: {:#?}", self.seen),
            }
        }
    }

    /// The next line, if one comes in time.
    pub fn line_within(&mut self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }

    /// Where to write its input, if that was piped.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe that was not taken before")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its name without SIG.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it as a power cut would.
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, once it ends.
    #[track_caller]
    pub fn exit_code(mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().expect("ended by itself and not by a signal");
            }
            assert!(Instant::now() < deadline, "still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `longrun dev`.
pub struct Dev {
    pub process: Process,
    pub url: String,
    /// The address that signs a browser in once.
    pub page: String,
    pub token: String,
    /// The shell command that it prints.
    pub curl: String,
    folder: PathBuf,
}

impl Dev {
    /// Starts one with its data in `folder`.
    pub fn start(folder: &Path) -> Dev {
        Dev::start_at(folder, "127.0.0.1:0")
    }

    /// Starts one at an address, so that it can be started there again.
    pub fn start_at(folder: &Path, address: &str) -> Dev {
        Dev::start_with(folder, address, &[])
    }

    /// Starts one with further arguments.
    pub fn start_with(folder: &Path, address: &str, more: &[&str]) -> Dev {
        let args = ["dev", "--listen", address, "--data-dir", "data", "--log", "info"];
        let mut process = Process::start(command().current_dir(folder).args(args).args(more));
        let after = |line: String, label: &str| line.trim_start_matches(label).trim().to_owned();
        let url = after(process.line_with("listening  "), "listening");
        let page = after(process.line_with("page:"), "page:");
        let token = after(process.line_with("token"), "token");
        let curl = after(process.line_with("list:"), "list:");
        Dev { process, url, page, token, curl, folder: folder.to_owned() }
    }

    /// Runs a client command against it.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.client(args).output().unwrap(), args)
    }

    /// A client command that keeps running.
    pub fn start_client(&self, args: &[&str]) -> Process {
        Process::start(&mut self.client(args))
    }

    fn client(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.env("LONGRUN_URL", &self.url).env("LONGRUN_TOKEN", &self.token);
        command.current_dir(&self.folder).args(args);
        command
    }

    /// Asks until the operation has this status.
    #[track_caller]
    pub fn until_status(&self, id: &str, status: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.run(&["operations", "get", id, "-o", "json"]).expect(0).json();
            let found = found["operation"]["status"].as_str().unwrap().to_owned();
            if found.ends_with(status) {
                return;
            }
            assert!(Instant::now() < deadline, "{id} is {found}");
        }
    }
}

/// A running `longrun serve`, on free ports.
pub struct Server {
    pub process: Process,
    /// Its name in its log.
    pub name: String,
    pub url: String,
    pub admin_url: String,
}

impl Server {
    /// Starts one in `folder`; `settings` are keys of the configuration.
    pub fn start(folder: &Path, settings: &[(&str, &str)]) -> Server {
        let mut serve = command();
        serve.current_dir(folder).arg("serve");
        serve.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        for (key, value) in settings {
            serve.env(format!("LONGRUN_{}", key.replace('.', "_").to_uppercase()), value);
        }
        Server::of(&mut serve)
    }

    /// Starts one by a command that the caller made.
    pub fn of(serve: &mut Command) -> Server {
        let mut process = Process::start(serve);
        let line: serde_json::Value = serde_json::from_str(&process.line_with("\"listening\"")).unwrap();
        let address = |key: &str| line[key].as_str().unwrap().to_owned();
        Server { name: address("server"), url: address("url"), admin_url: address("admin_url"), process }
    }
}

/// An address of this machine that was free a moment ago, for a server that is to be started twice.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Makes a token of the organization "acme" that may do everything, directly in the store.
pub fn admin_token(store: &str) -> String {
    let create = ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "-o", "id"];
    run(&[&create[..], &["--store", store]].concat()).expect(0).line()
}

/// The body of a GET, asked for without the client under test.
pub fn get(url: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A file of the repository's examples.
pub fn example(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path);
    path.canonicalize().unwrap().into_os_string().into_string().unwrap()
}

/// Writes a policy that takes a while, and returns its path.
pub fn slow_policy(folder: &Path) -> String {
    let path = folder.join("slow.yaml");
    let policy = "\
apiVersion: chainloop.dev/v1
kind: Policy
metadata: {name: slow}
spec:
  policies:
    - kind: JUNIT_XML
      embedded: |
        package slow
        import rego.v1
        total := sum([z | some x in numbers.range(1, 1500); some y in numbers.range(1, 1000); z := x * y])
        violations contains \"cannot be\" if total < 0
";
    std::fs::write(&path, policy).unwrap();
    path.into_os_string().into_string().unwrap()
}
