//! What people see on a terminal (that of `script`) and when they press keys in their shell.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::{Dev, Process, command, run};
use tempfile::tempdir;

/// A shell command on a terminal of 80 by 24; `longrun` is the binary under test.
fn on_a_terminal(dev: &Dev, shell: &str) -> Process {
    let longrun = command();
    let shell = format!("stty rows 24 cols 80; {}", shell.replace("longrun", &longrun.get_program().to_string_lossy()));
    let mut script = Command::new("script");
    script.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token).env("TERM", "xterm").env("SHELL", "/bin/sh");
    script.env("XDG_CONFIG_HOME", "/nonexistent").env_remove("COLUMNS").env("NO_COLOR", "1");
    Process::start(script.args(["-qec", &shell, "/dev/null"]).stdin(Stdio::null()))
}

fn create(dev: &Dev, kind: &str) -> String {
    dev.run(&["operations", "create", "--kind", kind, "-o", "id"]).expect(0).line()
}

#[test]
fn a_table_fits_the_terminal_and_has_ages_and_is_whole_elsewhere() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let kind = "a-kind-with-quite-a-long-name-indeed";
    let id = create(&dev, kind);
    let piped = dev.run(&["operations", "list"]).expect(0).shows(&id).shows(kind).stdout;
    assert!(piped.contains("T") && piped.contains("Z") && !piped.contains(" ago"), "exact times: {piped}");
    let row = on_a_terminal(&dev, "longrun operations list").line_with(&id);
    let row = row.trim_end();
    assert!(row.chars().count() <= 80 && row.contains("a-kind-wit") && row.contains('…'), "{row}");
    assert!(row.ends_with("ago") || row.ends_with("just now"), "{row}");
}

#[test]
fn a_watch_on_a_terminal_is_a_table_and_leaves_it_there() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let first = create(&dev, "first");
    let after = dev.run(&["operations", "watch", "--limit", "1", "--timeout", "1ms"]);
    after.expect(0);
    // It ends by itself after a second; what it shows by then depends on when it began, the table's frame does not.
    let mut watching = on_a_terminal(&dev, "longrun operations watch --timeout 1s; echo code=$?");
    let screen = watching.line_with("\u{1b}[?1049l");
    assert!(screen.contains("CHANGED") && screen.contains("q quits"), "{screen}");
    dev.run(&["operations", "get", &first]).expect(0);
}

#[test]
fn the_beginning_of_an_id_is_enough_where_it_is_the_only_one() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "scan");
    for length in [8, 13, 20, 35] {
        let part = &id[..length];
        assert_eq!(dev.run(&["operations", "get", part, "-o", "id"]).expect(0).line(), id, "{part}");
    }
    assert_eq!(dev.run(&["operations", "get", &id.to_uppercase()[..18], "-o", "id"]).expect(0).line(), id);
    // Another one of the same minute at most, as its first digits say.
    let other = create(&dev, "build");
    if id[..8] == other[..8] {
        let refused = dev.run(&["operations", "cancel", &id[..8]]).expect(2);
        refused.says("2 operations").says(&id).says(&format!("{other} (build)")).says("more digits");
        assert!(dev.run(&["operations", "get", &id, "-o", "json"]).expect(0).stdout.contains("PENDING"));
    }
    dev.run(&["operations", "get", "00000000-0"]).expect(4).says("no operation has an id that begins with");
    dev.run(&["operations", "get", &id[..6]]).expect(4).says("not found");
}

#[test]
fn misspelt_names_get_a_suggestion() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    create(&dev, "evidence.scan");
    dev.run(&["operations", "lsit"]).expect(2).says("'list'");
    dev.run(&["operations", "list", "--status", "pendign"]).expect(2).says("'pending'");
    dev.run(&["operations", "count", "--group-by", "staus"]).expect(2).says("'status'");
    dev.run(&["operations", "list", "--kind", "evidence.scna"]).expect(0).says("did you mean \"evidence.scan\"?");
    let scopes = ["token", "create", "--organization", "o", "--name", "n", "--scopes", "operations:raed"];
    dev.run(&scopes).expect(2).says("operations:read");
    dev.run(&["views", "create", "broken", "--filter", "status = PENDING"]).expect(0);
    dev.run(&["views", "show", "borken"]).expect(4).says("did you mean broken?");
    dev.run(&["views", "create", "columns", "--columns", "id,staus"]).expect(0).says("did you mean \"status\"?");
}

/// The completions that bash offers for the last word of a line.
fn offered(dev: &Dev, folder: &Path, line: &str) -> Vec<String> {
    let program = command();
    let bin = Path::new(program.get_program()).parent().unwrap();
    let mut path = bin.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    // As bash does when the key is pressed: by the function that the script registered for the command.
    let script = r#"
        source <(COMPLETE=bash longrun)
        read -ra COMP_WORDS <<< "$1"
        [[ "$1" == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMP_LINE="$1"; COMP_POINT=${#1}; COMP_TYPE=9
        function=$(complete -p longrun | sed 's/.*-F \([^ ]*\).*/\1/')
        "$function" longrun "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.current_dir(folder).env("PATH", path).env("XDG_CONFIG_HOME", folder);
    bash.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", &dev.token);
    let output = bash.args(["--norc", "-c", script, "bash", line]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("error"), "{errors}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_kinds_ids_views_and_schedules() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let id = create(&dev, "scan.image");
    dev.run(&["views", "create", "late", "--filter", "status = PENDING"]).expect(0);
    dev.run(&["schedules", "create", "nightly", "--kind", "scan.image", "--cron", "0 3 * * *"]).expect(0);
    let offered = |line: &str| offered(&dev, folder.path(), line);
    assert_eq!(offered("longrun operat"), ["operations"]);
    assert_eq!(offered("longrun operations list --status pen"), ["pending"]);
    assert_eq!(offered("longrun operations list --kind sc"), ["scan.image"]);
    assert_eq!(offered(&format!("longrun operations get {}", &id[..4])), [id.as_str()]);
    assert_eq!(offered("longrun views show l"), ["late"]);
    assert_eq!(offered("longrun schedules pause n"), ["nightly"]);
    dev.run(&["operations", "create", "--kind", "$(touch hit)", "-o", "id"]);
    assert!(!offered("longrun operations list --kind ").iter().any(|kind| kind.contains("touch")));
    assert!(!folder.path().join("hit").exists());
}

#[test]
fn each_shell_can_be_told_to_ask_the_program() {
    for shell in ["bash", "zsh", "fish"] {
        let script = command().env("COMPLETE", shell).output().unwrap();
        assert!(script.status.success() && String::from_utf8(script.stdout).unwrap().contains("longrun"), "{shell}");
    }
    run(&["completions", "bash"]).expect(0).shows("operations");
}
