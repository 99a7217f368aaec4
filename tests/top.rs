//! `longrun top` on a terminal (that of `script`, which every Debian has) and without one.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Dev, PATIENCE, Process, command};
use tempfile::tempdir;

/// The sequence that leaves the alternate screen of a terminal.
const BACK: &str = "\u{1b}[?1049l";

/// A command on a terminal of 80 by 24, in a shell that says afterwards whether lines are edited again.
fn on_a_terminal(dev: &Dev, program: &str) -> (Process, std::process::ChildStdin) {
    let mut script = command_of("script");
    script.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token).env("TERM", "xterm").env("SHELL", "/bin/sh");
    let longrun = command();
    let program = program.replace("longrun", &longrun.get_program().to_string_lossy());
    let shell =
        format!("stty rows 24 cols 80; {program}; echo; echo \"code=$?\"; stty -a | grep -o ' -*icanon'; echo over");
    script.args(["-qec", &shell, "/dev/null"]).stdin(Stdio::piped());
    let mut process = Process::start(&mut script);
    let keys = process.stdin();
    (process, keys)
}

fn command_of(program: &str) -> std::process::Command {
    std::process::Command::new(program)
}

#[test]
fn without_a_terminal_top_says_so_and_once_prints_the_screen() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = dev.run(&["operations", "create", "--kind", "scan", "-o", "id"]).expect(0).line();
    dev.run(&["top"]).expect(2).says("needs a terminal").says("--once");
    let shown = dev.run(&["top", "--once"]).expect(0);
    let shown = shown.shows("1 pending, 0 running").shows("scan").shows("Workers: 0").stdout;
    assert!(!shown.contains('\u{1b}') && !shown.contains(&id), "{shown}");
    dev.run(&["top", "--once", "--filter", "other"]).expect(0).shows("Queues: 0");
    dev.run(&["top", "--once", "--every", "1ms"]).expect(2).says("500ms");
}

#[test]
fn a_server_that_is_not_there_is_told_before_the_screen_is_taken() {
    let refused = crate::common::run(&["top", "--once", "--url", "http://127.0.0.1:1", "--token-file", "/dev/null"]);
    refused.expect(2).says("no token");
}

#[test]
fn q_quits_and_the_terminal_is_as_before() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.run(&["operations", "create", "--kind", "scan", "-o", "id"]).expect(0);
    let (mut process, mut keys) = on_a_terminal(&dev, "longrun top --every 500ms");
    // Keys that come before the screen are read when it is there.
    keys.write_all(b"sq").unwrap();
    let screen = process.line_with(BACK);
    assert!(screen.contains("pending"), "{screen}");
    process.line_with("code=0");
    assert_eq!(process.line_with("icanon").trim(), "icanon", "lines are edited as before");
    process.line_with("over");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    for signal in ["TERM", "INT", "HUP"] {
        // The command prints its id before it becomes longrun.
        let (mut process, _keys) = on_a_terminal(&dev, "sh -c 'echo pid=$$; exec longrun top'");
        let pid = process.line_with("pid=");
        let pid = pid.trim().rsplit('=').next().unwrap().to_owned();
        let status = format!("/proc/{pid}/status");
        // The signal is caught from before the screen is taken over.
        let number = match signal {
            "HUP" => 1,
            "INT" => 2,
            _ => 15,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
            if text.contains("longrun") && caught & (1 << (number - 1)) != 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(command_of("kill").args(["-s", signal, &pid]).status().unwrap().success());
        process.line_with(BACK);
        assert_eq!(process.line_with("icanon").trim(), "icanon");
    }
}
