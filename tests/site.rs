//! The documentation as a whole: every page is linked, every link leads somewhere, the reference of commands is the
//! program's own help, and the commands of tutorials and recipes do what the text says they do.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::common::{Process, command, run};

/// The page that `UPDATE_DOCS=1` renews.
const COMMANDS: &str = "commands.md";

fn docs() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).canonicalize().unwrap()
}

/// The pages, as paths below `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in [docs(), docs().join("tutorials")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path.strip_prefix(docs()).unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_open = false;
    text.lines().filter(move |line| {
        is_open ^= line.trim_start().starts_with("```");
        !is_open
    })
}

/// The targets of a page's links.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    // A link may be broken over two lines.
    let text = prose(text).collect::<Vec<_>>().join(" ");
    for (at, _) in text.match_indices("](") {
        let target = &text[at + 2..];
        links.push(target[..target.find(')').expect("a link is closed")].to_owned());
    }
    links
}

/// The names that links can lead to within a page, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text) {
        for (at, _) in line.match_indices("<a id=\"") {
            anchors.insert(line[at + 7..].split('"').next().unwrap().to_owned());
        }
        let Some(heading) = line.strip_prefix('#') else { continue };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        anchors.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    anchors
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let linked: Vec<PathBuf> = links(&summary).iter().map(PathBuf::from).collect();
    let mut sorted = linked.clone();
    sorted.sort();
    let pages: Vec<PathBuf> = pages().into_iter().filter(|page| page != Path::new("SUMMARY.md")).collect();
    assert_eq!(sorted, pages, "SUMMARY.md has each page once");
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let path = docs().join(&page);
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').map_or((&**link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !target.exists() {
                wrong.push(format!("{}: {link}: there is no such file", page.display()));
            } else if let (Some(anchor), true) = (anchor, target.extension().is_some_and(|it| it == "md"))
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                wrong.push(format!("{}: {link}: there is no such heading", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The help of a command and of all commands below it.
fn describe(words: &[&str], into: &mut String) {
    let help = run(&[words, &["--help"]].concat()).expect(0).stdout;
    let depth = "#".repeat(words.len().min(3) + 1);
    *into += &format!("{depth} longrun {}\n\n```text\n{}\n```\n\n", words.join(" "), help.trim_end());
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let entries = list.lines().take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    for entry in entries.filter(|line| !line.starts_with("   ")) {
        let name = entry.split_whitespace().next().unwrap();
        if name != "help" {
            describe(&[words, &[name]].concat(), into);
        }
    }
}

#[test]
fn the_reference_of_commands_is_what_the_program_says() {
    let mut text = "# Every command\n\nThis page is made from the program's own help. What scripts can rely on is in \
                    [The command line](cli.md).\n\n"
        .to_owned();
    let help = run(&["--help"]).expect(0).stdout;
    let list = help.split_once("\nCommands:\n").unwrap().1;
    for entry in list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   ")) {
        let name = entry.split_whitespace().next().unwrap();
        if name != "help" {
            describe(&[name], &mut text);
        }
    }
    let text = format!("{}\n", text.trim_end());
    let path = docs().join(COMMANDS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let agreed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        agreed == text,
        "docs/{COMMANDS} is out of date: UPDATE_DOCS=1 cargo test -p longrun reference_of_commands"
    );
}

/// A fenced block with commands.
struct Block {
    /// `server`, `background`, `exit=1`, or nothing.
    how: String,
    commands: String,
    /// Their output as the text shows it.
    shown: String,
}

/// The blocks of a page that are to be run: those in `sh`, with the content of a block `text` right behind.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    let mut is_adjacent = false;
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            is_adjacent &= line.is_empty();
            continue;
        };
        let content = lines.by_ref().take_while(|line| !line.starts_with("```")).collect::<Vec<_>>().join("\n");
        let (name, how) = language.split_once(',').unwrap_or((language, ""));
        if name == "sh" {
            blocks.push(Block { how: how.to_owned(), commands: content, shown: String::new() });
        } else if name == "text" && is_adjacent {
            blocks.last_mut().unwrap().shown = content;
        }
        is_adjacent = name == "sh";
    }
    blocks
}

/// Runs the commands of a page one after the other, in one shell.
fn follow(page: &str) {
    let blocks = blocks(&fs::read_to_string(docs().join(page)).unwrap());
    let folder = tempdir().unwrap();
    let programs = tempdir().unwrap();
    std::os::unix::fs::symlink(command().get_program(), programs.path().join("longrun")).unwrap();
    std::os::unix::fs::symlink(docs().join("../examples"), folder.path().join("examples")).unwrap();
    let mut server = None;
    let mut script = "set -euo pipefail\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        let commands = &block.commands;
        script += &format!("echo '@@{number}'\n");
        match &*block.how {
            "server" => {
                let args = commands.strip_prefix("longrun dev").expect("a server is longrun dev").split_whitespace();
                let args = ["dev", "--listen", "127.0.0.1:0"].into_iter().chain(args);
                let mut process = Process::start(command().current_dir(folder.path()).args(args));
                let line = process.line_with("listening");
                let url = line.trim_start_matches("listening").trim().to_owned();
                process.line_with("stop:");
                server = Some((process, url));
            }
            "background" => script += &format!("(\n{commands}\n) &\n"),
            "" => script += &format!("{commands}\n"),
            how => {
                let code = how.strip_prefix("exit=").expect("server, background or exit=N");
                script += &format!("set +e\n(\n{commands}\n)\ncode=$?\nset -e\n[ $code = {code} ]\n");
            }
        }
    }
    if let Some((_, url)) = &server {
        script = script.replace("http://127.0.0.1:8080", url);
    }
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("exec 2>&1\n{script}")]).current_dir(folder.path()).env("PATH", path);
    shell.env_remove("LONGRUN_URL").env_remove("LONGRUN_TOKEN").stdin(Stdio::null()).process_group(0);
    // Commands that go on in the background must not hold the pipe: they are ended with the group.
    let output = folder.path().join("output.log");
    let mut child = shell.stdout(fs::File::create(&output).unwrap()).spawn().unwrap();
    let status = child.wait().unwrap();
    Command::new("kill")
        .args(["-s", "KILL", "--", &format!("-{}", child.id())])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    let output = fs::read_to_string(output).unwrap();
    assert!(status.success(), "{page}: {status}\n{script}\n----\n{output}");
    for (number, block) in blocks.iter().enumerate() {
        let printed = output.split_once(&format!("@@{number}\n")).unwrap().1;
        let printed = printed.split("@@").next().unwrap();
        for word in block.shown.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit())) {
            assert!(printed.contains(word), "{page}: {word:?} is not printed by\n{}\nbut\n{printed}", block.commands);
        }
    }
}

#[test]
fn the_first_operation_is_as_the_tutorial_says() {
    follow("tutorials/first-operation.md");
}

#[test]
fn a_worker_of_ones_own_is_as_the_tutorial_says() {
    follow("tutorials/own-worker.md");
}

#[test]
fn evidence_in_a_pipeline_is_judged_as_the_tutorial_says() {
    follow("tutorials/evidence-in-a-pipeline.md");
}

#[test]
fn production_is_prepared_as_the_tutorial_says() {
    follow("tutorials/production.md");
}

#[test]
fn recipes_work() {
    follow("recipes.md");
}
