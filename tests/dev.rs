//! `longrun dev` and the commands that call it, end to end.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{Dev, Process, command, example, get, run, run_in};
use tempfile::tempdir;

#[test]
fn the_token_is_kept_across_restarts_and_only_its_user_may_read_it() {
    let folder = tempdir().unwrap();
    let first = Dev::start(folder.path());
    let file = folder.path().join("data/token");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), first.token);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(folder.path().join("data/.gitignore")).unwrap(), "*\n");
    let token = first.token.clone();
    drop(first);
    assert_eq!(Dev::start(folder.path()).token, token);
}

#[test]
fn the_curl_line_works_when_pasted() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let Ok(output) = Command::new("sh").args(["-c", &dev.curl]).output() else { panic!("no shell") };
    assert!(output.status.success(), "{}: {}", dev.curl, String::from_utf8_lossy(&output.stderr));
    let (_, body) = get(&dev.url, "/v1/operations", Some(&dev.token));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), body);
    assert!(body.starts_with("{\"operations\":[]"), "{body}");
}

#[test]
fn a_server_shows_the_document_of_its_api_and_ends_when_it_is_told() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let (status, body) = get(&dev.url, "/openapi.json", None);
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
    dev.process.signal("TERM");
    assert_eq!(dev.process.exit_code(), 0);
}

#[test]
fn operations_of_undeclared_kinds_are_created_listed_and_read_in_every_form() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = [
        "ops",
        "create",
        "--kind",
        "scan",
        "--resource-type",
        "repo",
        "--resource-id",
        "a/b",
        "--input",
        "{\"deep\":true}",
        "--priority",
        "-5",
        "--timeout",
        "1m",
        "-o",
        "id",
    ];
    let id = dev.run(&create).expect(0).line();

    let json = dev.run(&["operations", "list", "-o", "json"]).expect(0);
    let (_, body) = get(&dev.url, "/v1/operations", Some(&dev.token));
    assert_eq!(json.stdout, format!("{body}\n"), "as the API answers, byte by byte");
    assert_eq!(json.json()["operations"][0]["id"], id);

    let filters = [
        "ops",
        "list",
        "--kind",
        "scan",
        "--status",
        "PENDING",
        "--resource-type",
        "repo",
        "--resource-id",
        "a/b",
        "--page",
        "0",
        "--page-size",
        "5",
        "-o",
        "id",
    ];
    assert_eq!(dev.run(&filters).expect(0).line(), id);
    assert_eq!(dev.run(&["ops", "list", "--status", "failed", "-o", "id"]).expect(0).stdout, "");

    let table = dev.run(&["ops", "list"]).expect(0).stdout;
    assert!(table.contains("STATUS") && table.contains("PENDING") && table.contains("repo/a/b"), "{table}");
    assert!(table.contains("1 operation in all; page 0 of 1 page"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours outside of a terminal");

    let yaml = dev.run(&["ops", "get", &id, "-o", "yaml"]).expect(0).stdout;
    assert!(yaml.contains("status: ASYNC_OPERATION_STATUS_PENDING"), "{yaml}");
}

#[test]
fn operations_have_labels_and_unique_keys_and_are_described() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = |more: &[&str]| {
        let args = ["ops", "create", "--kind", "scan", "--input", "{\"n\":1}", "--unique-key", "k", "-o", "id"];
        dev.run(&[&args[..], more].concat())
    };
    let first = create(&["--label", "team=search", "--label", "deploy=42"]).expect(0).line();
    let again = create(&[]).expect(0);
    assert_eq!(again.line(), first);
    create(&[]).expect(0).says("it has the same unique key and has not ended");
    create(&["--label", "Team=search"]).expect(2).says("lower-case letters");
    create(&["--label", "team"]).expect(2).says("KEY=VALUE");
    let described = dev.run(&["ops", "get", &first]).expect(0).stdout;
    for shown in ["PENDING, 0 of 5 attempts", "deploy=42, team=search", "Unique key  k", "\"n\": 1"] {
        assert!(described.contains(shown), "{shown} in {described}");
    }
    let basic = dev.run(&["ops", "get", &first, "-o", "json"]).expect(0).json();
    assert_eq!(basic["operation"].as_object().unwrap().len(), 10, "without the times that are not set");
    let full = dev.run(&["ops", "get", &first, "-o", "json", "--full"]).expect(0).json();
    assert_eq!(full["operation"]["labels"]["team"], "search");
    dev.run(&["ops", "retry", &first, "--input", "{\"n\":2}"]).expect(2).says("the operation is PENDING");
    dev.run(&["ops", "cancel", &first]).expect(0);
    let second = dev.run(&["ops", "retry", &first, "--input", "{\"n\":2}", "-o", "id"]).expect(0).line();
    let full = dev.run(&["ops", "get", &second, "-o", "json", "--full"]).expect(0).json();
    assert_eq!(
        (&full["operation"]["labels"]["retry_of"], &full["operation"]["input"]["n"]),
        (&first.into(), &2.into())
    );
}

#[test]
fn a_time_that_no_calendar_has_is_refused() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    for time in ["3000000d", "500000000000y"] {
        let create = ["operations", "create", "--kind", "scan", "--run-after", time];
        dev.run(&create).expect(2).says("is after the year 9999").says("--run-after 10m");
    }
}

#[test]
fn a_waiver_lasts_as_long_as_it_was_said() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let add = ["waiver", "add", "policy", "--reason", "known", "--expires-in", "1999ms", "-o", "json"];
    let waiver = dev.run(&add).expect(0).json()["waiver"].clone();
    let millis = |name: &str| {
        let time: operations::Timestamp = waiver[name].as_str().unwrap().parse().unwrap();
        time.as_millis()
    };
    // It is created a moment after its end was computed.
    let lasts = millis("expires_at") - millis("created_at");
    assert!((1_001..=1_999).contains(&lasts), "{waiver}");
}

#[test]
fn operations_are_cancelled_tried_again_and_deleted() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = || dev.run(&["ops", "create", "--kind", "scan", "-o", "id"]).expect(0).line();
    let (one, two) = (create(), create());
    dev.run(&["ops", "retry", &one]).expect(2).says("the operation is PENDING").says(&one);
    dev.run(&["ops", "delete", &one]).expect(2).says("the operation is PENDING");
    assert_eq!(dev.run(&["ops", "cancel", &one, &two, "-o", "id"]).expect(0).stdout, format!("{one}\n{two}\n"));
    dev.run(&["ops", "cancel", &one]).expect(2).says("the operation is FAILED");
    let again = dev.run(&["operations", "retry", &one, "-o", "json"]).expect(0).json();
    assert_eq!(again["operation"]["status"], "ASYNC_OPERATION_STATUS_PENDING");
    let table = dev.run(&["ops", "cancel", &one]).expect(0).stdout;
    assert!(table.contains("FAILED") && table.contains("cancelled"), "{table}");
    assert_eq!(dev.run(&["ops", "delete", &one]).expect(0).stdout, format!("deleted {one}\n"));
    assert_eq!(dev.run(&["ops", "delete", &two, "-o", "json"]).expect(0).stdout, "{}\n");
    dev.run(&["ops", "delete", &two]).expect(4).says("not found");
    assert_eq!(dev.run(&["ops", "list", "-o", "id"]).expect(0).stdout, "");
    let Dev { process, .. } = dev;
    process.signal("TERM");
    assert_eq!(process.exit_code(), 0);
    let store = format!("sqlite:{}", folder.path().join("data/longrun.db").display());
    run(&["doctor", "--store", &store]).expect(0);
}

#[test]
fn what_the_server_refuses_is_told_with_its_fields() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.run(&["ops", "list", "--page", "-1"]).expect(2).says("error:");
    let refused = dev.run(&["ops", "create", "--kind", "no spaces", "--max-attempts", "0"]).expect(2);
    refused.says("kind").says("max_attempts");
    dev.run(&["ops", "create", "--kind", "scan", "--input", "{oops"]).expect(2).says("not JSON").says("hint:");
    dev.run(&["ops", "get", "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000"]).expect(4).says("error: operation 0199aaaa");
}

#[test]
fn the_same_idempotency_key_creates_once() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = ["ops", "create", "--kind", "scan", "--idempotency-key", "k", "-o", "id"];
    let first = dev.run(&create).expect(0).line();
    assert_eq!(dev.run(&create).expect(0).line(), first);
    let other = ["ops", "create", "--kind", "build", "--idempotency-key", "k"];
    dev.run(&other).expect(2).says("Idempotency-Key");
    assert_ne!(dev.run(&["ops", "create", "--kind", "scan", "-o", "id"]).expect(0).line(), first);
}

#[test]
fn evidence_is_stored_once_and_comes_back_whole() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = example("evidence/longrun.cdx.json");
    let digest = dev.run(&["evidence", "put", &file, "-o", "id"]).expect(0).line();
    assert!(digest.starts_with("sha256:"), "{digest}");
    let stored = dev.run(&["evidence", "put", &file, "-o", "json"]).expect(0).json();
    assert_eq!(stored["digest"], digest);
    assert_eq!(stored["kind"], "SBOM_CYCLONEDX_JSON");
    let content = std::fs::read_to_string(&file).unwrap();
    assert_eq!(dev.run(&["evidence", "get", &digest]).expect(0).stdout, content);
    dev.run(&["evidence", "get", &digest, "--to", "copy.json"]).expect(0);
    assert_eq!(std::fs::read_to_string(folder.path().join("copy.json")).unwrap(), content);
    let unknown = format!("sha256:{}", "0".repeat(64));
    dev.run(&["evidence", "get", &unknown, "--to", "none"]).expect(4).says("evidence not found");
    assert!(!folder.path().join("none").exists());
    for none in ["nope", "sha256:00", &digest.to_uppercase()] {
        let refused = dev.run(&["evidence", "get", none]).expect(2);
        refused.says(&format!("{none:?} is not a digest")).says("sha256: and 64 hexadecimal digits");
    }
}

#[test]
fn a_revoked_token_is_refused() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = [
        "token",
        "create",
        "--data-dir",
        "data",
        "--create-organization",
        "--organization",
        "acme",
        "--name",
        "ci",
        "--scopes",
        "operations:read,evidence:write",
        "--projects",
        "p1,p2",
        "--expires-in",
        "90d",
    ];
    let created = run_in(folder.path(), &[&create[..], &["-o", "json"]].concat()).expect(0).json();
    let (id, secret) = (created["id"].as_str().unwrap(), created["secret"].as_str().unwrap());
    let list = |secret: &str| {
        let mut command = command();
        command.env("LONGRUN_URL", &dev.url).env("LONGRUN_TOKEN", secret);
        command.args(["operations", "list"]).output().unwrap()
    };
    assert_eq!(list(secret).status.code(), Some(0));

    let listed = run_in(folder.path(), &["token", "list", "--data-dir", "data"]).expect(0).stdout;
    assert!(listed.contains(id) && listed.contains("p1,p2") && !listed.contains(secret), "{listed}");

    run_in(folder.path(), &["token", "revoke", id, "--data-dir", "data"]).expect(0);
    // A server trusts a token for a second.
    let deadline = Instant::now() + Duration::from_secs(30);
    let refused = loop {
        let answer = list(secret);
        if answer.status.code() != Some(0) {
            break answer;
        }
        assert!(Instant::now() < deadline, "a revoked token is taken for ever");
    };
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("hint: check LONGRUN_TOKEN") && !told.contains(secret), "{told}");
    assert_eq!(get(&dev.url, "/v1/operations", Some(secret)).0, 401);
    let tokens = run_in(folder.path(), &["token", "list", "--data-dir", "data", "-o", "json"]).expect(0).json();
    let state = tokens.as_array().unwrap().iter().find(|token| token["id"] == id).unwrap()["state"].clone();
    assert_eq!(state, "revoked");
    run_in(folder.path(), &["token", "revoke", "nobody", "--data-dir", "data"]).expect(2).says("token list");
}

#[test]
fn with_o_id_the_secret_stands_alone_on_standard_output() {
    let folder = tempdir().unwrap();
    let args = ["token", "create", "--store", "sqlite:t.db", "--organization", "o", "--name", "n", "--scopes", "admin"];
    let secret = run_in(folder.path(), &[&args[..], &["-o", "id"]].concat()).expect(0).line();
    assert!(secret.starts_with("lrn_"), "{secret}");
    let wrong = ["token", "create", "--store", "sqlite:t.db", "--organization", "o", "--name", "n", "--scopes", "all"];
    run_in(folder.path(), &wrong).expect(2).says("operations:read");
    run_in(folder.path(), &["token", "list", "--store", "sqlite:none.db"]).expect(4).says("there is no store");
    assert!(!folder.path().join("none.db").exists(), "a mistyped path makes no store");
}

#[test]
fn without_address_and_token_the_dev_server_of_the_folder_is_called() {
    let folder = tempdir().unwrap();
    run_in(folder.path(), &["operations", "list"]).expect(2).says("no token was given").says("hint:");
    std::fs::create_dir(folder.path().join(".longrun")).unwrap();
    std::fs::write(folder.path().join(".longrun/token"), "lrn_x\n").unwrap();
    // What matters is that token and address were found, that the token is not printed, and that it goes nowhere else.
    std::fs::write(folder.path().join(".longrun/url"), "http://127.0.0.1:9\n").unwrap();
    let called = run_in(folder.path(), &["operations", "list"]).expect(6).says("cannot connect to http://127.0.0.1:9");
    assert!(!called.stderr.contains("lrn_x"), "{}", called.stderr);
    run_in(folder.path(), &["operations", "list", "--url", "http://127.0.0.1:9"]).expect(2).says("no token was given");
    // The folder may have come with somebody's repository: no address of another machine is taken from it.
    std::fs::write(folder.path().join(".longrun/url"), "http://192.0.2.1:9\n").unwrap();
    let called = run_in(folder.path(), &["operations", "list"]);
    assert!(!called.stderr.contains("192.0.2.1"), "{}", called.stderr);
}

#[test]
fn commands_in_the_folder_of_a_dev_server_find_it_wherever_it_listens() {
    let folder = tempdir().unwrap();
    let dev = |more: &[&str]| {
        let mut dev = command();
        Process::start(dev.current_dir(folder.path()).args(["dev", "--listen", "127.0.0.1:0"]).args(more))
    };
    let tried = |process: &mut Process| {
        let line = process.line_with("try:");
        let tried = line.trim_start_matches("try:").trim().strip_prefix("longrun ").map(str::to_owned);
        tried.unwrap_or_else(|| panic!("it needs no environment: {line}"))
    };
    let shell = |line: &str| run_in(folder.path(), &line.split(' ').collect::<Vec<_>>());
    let mut first = dev(&[]);
    let url = first.line_with("listening").split_whitespace().last().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(folder.path().join(".longrun/url")).unwrap(), format!("{url}\n"));
    let created = shell(&tried(&mut first)).expect(0).stdout;
    assert!(created.contains("PENDING"), "{created}");
    shell("operations list -o id").expect(0).line();
    drop(first);
    // On another port now, and with policies: the command that it prints evaluates the example of one.
    let policies = std::path::Path::new(&example("policies")).to_owned();
    let mut second = dev(&["--policies", policies.to_str().unwrap()]);
    let evaluated = shell(&tried(&mut second)).expect(0).stdout;
    assert!(evaluated.contains(": passed\n  ✓ "), "{evaluated}");
}

#[test]
fn a_folder_of_policies_that_is_not_there_is_named() {
    run(&["dev", "--listen", "127.0.0.1:0", "--policies", "nosuch"])
        .expect(2)
        .says("--policies: the folder nosuch does not exist");
    run(&["dev", "--listen", "nowhere"]).expect(2).says("--listen: must be address:port");
}

#[test]
fn one_operation_that_is_refused_keeps_no_other_from_its_turn() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let create = || dev.run(&["ops", "create", "--kind", "scan", "-o", "id"]).expect(0).line();
    let (one, two, nobody) = (create(), create(), "0199aaaa-bbbb-7ccc-8ddd-eeeeffff0000");
    let both = format!("{one}\n{two}\n");
    for verb in ["get", "cancel", "wait", "retry"] {
        let ran = dev.run(&["ops", verb, nobody, &one, "nope", &two, "-o", "id"]);
        // Both have failed when they are waited for; errors about the others come before that.
        let ran = ran.expect(4).says(&format!("error: operation {nobody} not found"));
        assert_eq!(ran.stdout, both, "{verb}");
        assert_eq!(ran.says("error: operation nope not found").stderr.lines().count(), 2, "{verb}");
    }
    let deleted = dev.run(&["ops", "delete", &one, nobody, &two]).expect(2);
    deleted
        .says(&format!("error: operation {one}: the operation is PENDING"))
        .says(&format!("operation {nobody} not found"));
    dev.run(&["ops", "cancel", &one]).expect(0);
    let deleted = dev.run(&["ops", "delete", &two, &one]).expect(2);
    assert_eq!(deleted.stdout, format!("deleted {one}\n"));
}

#[test]
fn https_to_a_plain_port_is_told() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let url = dev.url.replace("http:", "https:");
    let args = ["operations", "list", "--url", &url, "--token-file", "data/token"];
    run_in(folder.path(), &args).expect(6).says("the server does not speak TLS").says(&format!("try {}", dev.url));
}

#[test]
fn a_server_that_is_not_there_is_told_with_a_hint() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("t"), "lrn_x").unwrap();
    // Port 9 of this machine: discard, which nobody runs.
    let args = ["operations", "list", "--url", "http://127.0.0.1:9", "--token-file", "t"];
    run_in(folder.path(), &args).expect(6).says("cannot connect to http://127.0.0.1:9").says("longrun dev");
    let args = ["operations", "list", "--url", "nonsense", "--token-file", "t"];
    run_in(folder.path(), &args).expect(2).says("LONGRUN_URL");
    let args = ["operations", "list", "--token-file", "missing"];
    run_in(folder.path(), &args).expect(2).says("missing").says("--token-file");
}

#[test]
fn the_demonstration_shows_verdicts_and_the_list() {
    let shown = run(&["demo"]).expect(0).stdout;
    assert!(shown.contains("✓ sbom-licenses-present") && shown.contains("✓ junit-no-failures"), "{shown}");
    assert!(shown.contains("✗ sbom-banned-licenses"), "{shown}");
    let advice = ["`longrun dev --policies DIR`", "`longrun evidence evaluate FILE --policy-ref NAME`"];
    assert!(advice.iter().all(|command| shown.contains(command)), "{shown}");
    assert!(shown.contains("curl -H 'Authorization: Bearer lrn_"), "{shown}");
    assert!(
        shown.contains("\"pagination\":{\"total_count\":4,\"page\":0,\"total_pages\":4,\"page_size\":1}"),
        "{shown}"
    );
}

#[test]
fn the_demonstration_leaves_its_page_open_when_asked_to() {
    let mut demo = command();
    // Without a path there is no program that opens a browser.
    let mut demo = Process::start(demo.args(["demo", "--open"]).env("PATH", ""));
    let page = demo.line_with("/ui/sign-in?once=");
    let (url, path) = page.split_at(page.find("/ui/").unwrap());
    assert_eq!(get(url, path, None).0, 303);
    let (status, body) = get(url, path, None);
    assert!(status == 200 && body.contains("This link has been used"), "{body}");
    demo.signal("TERM");
    assert_eq!(demo.exit_code(), 0);
}

#[test]
fn who_runs_what_is_listed() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.run(&["workers"]).expect(0).shows("LAST HEARTBEAT");
    assert_eq!(dev.run(&["workers", "-o", "id"]).expect(0).stdout, "");
    assert_eq!(dev.run(&["workers", "-o", "json"]).expect(0).json()["is_complete"], true);
}

#[test]
fn a_sign_in_link_is_not_in_the_log() {
    let folder = tempdir().unwrap();
    let mut dev = Dev::start(folder.path());
    let path = &dev.page[dev.url.len()..];
    assert_eq!(get(&dev.url, path, None).0, 303);
    assert_eq!(get(&dev.url, "/ui/sign-in?return_to=%2F", None).0, 200);
    let code = path.split('=').next_back().unwrap().to_owned();
    // The line of the second request comes after that of the first.
    let lines = [dev.process.line_with("/ui/sign-in"), dev.process.line_with("/ui/sign-in")];
    assert!(lines.iter().all(|line| line.contains("request") && !line.contains(&code)), "{lines:?}");
}

#[test]
fn a_batch_is_created_from_a_file_all_or_none() {
    let folder = tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let file = folder.path().join("batch.json");
    let path = file.to_str().unwrap();
    std::fs::write(&file, r#"[{"kind": "scan", "priority": 1}, {"kind": "build", "input": {"n": 1}}]"#).unwrap();
    let made = dev.run(&["ops", "create-batch", path, "-o", "json"]).expect(0).json();
    let kinds: Vec<&str> =
        made["operations"].as_array().unwrap().iter().map(|made| made["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["scan", "build"]);
    // One object per line, and the same key once more.
    std::fs::write(&file, "{\"kind\": \"scan\"}\n{\"kind\": \"scan\"}\n").unwrap();
    let with_key = || dev.run(&["ops", "create-batch", path, "--idempotency-key", "k", "-o", "id"]).expect(0).stdout;
    let ids = with_key();
    assert_eq!(ids.lines().count(), 2);
    assert_eq!(with_key(), ids);
    for (text, says) in [
        ("{\"kind\": \"scan\"}\n{\"kind\": \"no spaces\"}", "operations[1].kind"),
        ("[{\"kind\": \"scan\", \"colour\": \"red\"}]", "operations[0]: unknown field `colour`"),
        ("{\"kind\": \"scan\"}\n{\"kind\": 7}", "operations[1]: invalid type"),
        ("", "1 to 1000"),
    ] {
        std::fs::write(&file, text).unwrap();
        dev.run(&["ops", "create-batch", path]).expect(2).says(says);
    }
    let all = dev.run(&["ops", "list", "-o", "id"]).expect(0).stdout;
    assert_eq!(all.lines().count(), 4, "what was refused made nothing: {all}");
}
