//! The help of the command line.

use crate::common::{run, run_in};

const COMMANDS: &[&str] = &[
    "demo",
    "dev",
    "serve",
    "config check",
    "config show",
    "migrate",
    "doctor",
    "encryption generate-key",
    "encryption status",
    "encryption rotate",
    "backup",
    "restore",
    "token create",
    "token list",
    "token revoke",
    "token rotate",
    "audit list",
    "audit export",
    "organizations list",
    "organizations create",
    "organizations set-limits",
    "organizations delete",
    "organizations pause",
    "organizations resume",
    "kinds list",
    "kinds pause",
    "kinds resume",
    "operations list",
    "operations get",
    "operations create",
    "operations cancel",
    "operations retry",
    "operations delete",
    "operations wait",
    "operations watch",
    "operations events",
    "operations create-batch",
    "ops list",
    "stats",
    "top",
    "health",
    "login",
    "logout",
    "context list",
    "context use",
    "context show",
    "context delete",
    "workers",
    "waiver add",
    "waiver list",
    "waiver remove",
    "evidence list",
    "evidence delete",
    "evidence reevaluate",
    "views list",
    "views create",
    "views show",
    "views delete",
    "evidence evaluate",
    "evidence detect",
    "evidence put",
    "evidence get",
    "policy check",
    "policy test",
    "worker",
    "bench pages",
    "bench waiters",
    "bench fairness",
    "bench evaluate",
    "completions",
    "man",
];

#[test]
fn every_command_has_a_help_text() {
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let help = run(&args).expect(0).stdout;
        assert!(help.contains("Usage: longrun"), "{command}: {help}");
    }
}

#[test]
fn commands_that_print_objects_take_an_output_form() {
    for command in [
        "config show",
        "token create",
        "token list",
        "token rotate",
        "audit list",
        "organizations list",
        "kinds list",
        "operations list",
        "operations get",
        "operations create",
        "operations cancel",
        "operations retry",
        "operations delete",
        "operations wait",
        "operations watch",
        "operations events",
        "evidence evaluate",
        "evidence detect",
        "evidence put",
        "policy check",
        "policy test",
        "doctor",
        "encryption status",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("-h");
        // Where lines are broken depends on the terminal.
        let help = run(&args).expect(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[possible values: table, json, yaml, id]"), "{command}: {help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_with_the_nearest_right_one() {
    run(&["operatoins", "list"]).expect(2).says("operations");
    run(&["operations", "list", "--status", "done"]).expect(2).says("completed");
    run(&["operations", "list", "--resource-type", "evidence"]).expect(2).says("--resource-id");
    run(&["operations", "list", "--token", "lrn_x"]).expect(2).says("--token-file");
    run(&[]).expect(2);
}

#[test]
fn the_exit_codes_are_in_the_help_and_in_the_documentation() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md")).unwrap();
    for args in [&["help"][..], &["--help"]] {
        let help = run(args).expect(0).stdout;
        let (_, table) = help.split_once("Exit codes:\n").expect("a table");
        let rows: Vec<(&str, &str)> = table
            .lines()
            .take_while(|line| !line.is_empty())
            .map(|line| line.trim().split_once("  ").unwrap())
            .collect();
        assert_eq!(rows.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["0", "1", "2", "3", "4", "5", "6"]);
        for (code, meaning) in rows {
            assert!(text.contains(&format!("| {code} | {meaning}")), "docs/cli.md lacks {code}: {meaning}");
        }
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(run(&["--version"]).expect(0).line(), format!("longrun {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_get_completions_and_no_hidden_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("operations") && script.contains("page-size"), "{shell}");
    }
    let help = run(&["--help"]).expect(0).stdout;
    assert!(!help.contains("evaluation-worker"), "{help}");
}

#[test]
fn manual_pages_are_written_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &["man", "pages/man1"]).expect(0);
    for page in ["longrun.1", "longrun-operations-list.1", "longrun-evidence-evaluate.1", "longrun-serve.1"] {
        let text = std::fs::read_to_string(folder.path().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
}
