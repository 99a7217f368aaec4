//! Evidence is evaluated again automatically when a policy in the policy folder changes: by the real servers.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Dev, PATIENCE, Ran, Server, admin_token, command};
use serde_json::Value;
use tempfile::tempdir;
use testkit::{Cluster, Durability};

/// Writes the policy `p`, which objects to these things.
fn write_policy(folder: &Path, objections: &[&str]) {
    let policies = folder.join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    let policy = "apiVersion: chainloop.dev/v1\nkind: Policy\nmetadata: {name: p}\n\
        spec: {policies: [{kind: EVIDENCE, path: p.rego}]}\n";
    std::fs::write(policies.join("p.yaml"), policy).unwrap();
    let script = format!("package main\nimport rego.v1\nviolations := {}\n", serde_json::json!(objections));
    std::fs::write(policies.join("p.rego"), script).unwrap();
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client command, and how it reaches the server.
struct Client<'a> {
    folder: &'a Path,
    url: String,
    token: String,
}

impl Client<'_> {
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = command();
        command.env("LONGRUN_URL", &self.url).env("LONGRUN_TOKEN", &self.token).current_dir(self.folder);
        Ran::of(command.args(args).output().unwrap(), args)
    }

    fn evaluate(&self) {
        std::fs::write(self.folder.join("e.json"), r#"{"a": 1}"#).unwrap();
        self.run(&["evidence", "evaluate", "e.json", "--kind", "EVIDENCE", "--policy-ref", "p"]).expect(1);
    }

    /// The ids of the completed operations of a kind, newest first.
    fn completed(&self, kind: &str) -> Vec<String> {
        let list = ["operations", "list", "--kind", kind, "--status", "completed", "-o", "id"];
        self.run(&list).expect(0).stdout.lines().map(str::to_owned).collect()
    }

    /// The output of the newest evaluation, once there are this many.
    async fn evaluation(&self, number: usize) -> Value {
        let newest = until("the evaluation", async || {
            let ids = self.completed("evidence_evaluation");
            assert!(ids.len() <= number, "no evaluation is repeated twice");
            ids.first().filter(|_| ids.len() == number).cloned()
        })
        .await;
        let found = self.run(&["operations", "get", &newest, "-o", "json"]).expect(0).json();
        serde_json::from_str(found["operation"]["output"].as_str().unwrap()).unwrap()
    }
}

/// The messages that are new, gone and still there.
fn difference(output: &Value) -> [Vec<&str>; 3] {
    ["new", "gone", "still"].map(|which| {
        let all = output["difference"][which].as_array().unwrap();
        all.iter().map(|objection| objection["message"].as_str().unwrap()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_is_followed_while_a_server_runs_and_after_it_was_down() {
    let folder = tempdir().unwrap();
    write_policy(folder.path(), &["one", "two"]);
    let start = || Dev::start_with(folder.path(), "127.0.0.1:0", &["--policies", "policies"]);
    let client = |dev: &Dev| Client { folder: folder.path(), url: dev.url.clone(), token: dev.token.clone() };
    let dev = start();
    client(&dev).evaluate();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("data/longrun.db"));
    let store = sqlx::SqlitePool::connect_with(options.read_only(true)).await.unwrap();
    until("the first look is noted", async || {
        let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM seen_policies").fetch_one(&store).await.unwrap();
        (noted == 1).then_some(())
    })
    .await;
    store.close().await;

    write_policy(folder.path(), &["two", "three"]);
    let second = client(&dev).evaluation(2).await;
    assert_eq!(difference(&second), [vec!["three"], vec!["one"], vec!["two"]]);
    dev.process.signal("TERM");
    assert_eq!(dev.process.exit_code(), 0);

    write_policy(folder.path(), &["two"]);
    let dev = start();
    let third = client(&dev).evaluation(3).await;
    assert_eq!(difference(&third), [vec![], vec!["three"], vec!["two"]]);
    let causes = client(&dev).completed("evidence_reevaluation");
    assert_eq!(causes.len(), 2);
    let shown = client(&dev).run(&["operations", "get", &causes[0], "-o", "json"]).expect(0).json();
    let output: Value = serde_json::from_str(shown["operation"]["output"].as_str().unwrap()).unwrap();
    assert_eq!((&output["cause"], &output["evaluations"]), (&"changed in the policy folder: p".into(), &1.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiver_that_ends_concerns_its_own_project_however_many_evaluations_came_after() {
    let folder = tempdir().unwrap();
    write_policy(folder.path(), &["one"]);
    let dev = Dev::start_with(folder.path(), "127.0.0.1:0", &["--policies", "policies"]);
    let client = Client { folder: folder.path(), url: dev.url.clone(), token: dev.token.clone() };
    let add = ["waiver", "add", "p", "--subject", "app", "--reason", "known", "-o", "id"];
    let waiver = client.run(&add).expect(0).line();
    std::fs::write(folder.path().join("e.json"), r#"{"a": 1}"#).unwrap();
    let evaluate = ["evidence", "evaluate", "e.json", "--kind", "EVIDENCE", "--policy-ref", "p", "--project-name"];
    let evaluate = |project: &str| client.run(&[&evaluate[..], &[project]].concat());
    // Whatever the waiver's addition has evaluated again was evaluated before it.
    until("the addition of the waiver is followed", async || {
        (client.completed("evidence_reevaluation").len() == 1).then_some(())
    })
    .await;
    evaluate("app").expect(0);
    for other in 0..11 {
        evaluate(&format!("other-{other}")).expect(1);
    }
    client.run(&["waiver", "remove", &waiver]).expect(0);
    let output = client.evaluation(13).await;
    assert_eq!(output["status"], "failed", "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_several_servers_see_is_followed_once() {
    let cluster = Cluster::start(Durability::None).unwrap();
    let database = cluster.database().await.unwrap();
    let folder = tempdir().unwrap();
    write_policy(folder.path(), &["one"]);
    let token = admin_token(&database);
    let settings = [("store", database.as_str()), ("policies.folder", "policies")];
    let servers = [Server::start(folder.path(), &settings), Server::start(folder.path(), &settings)];
    let client = Client { folder: folder.path(), url: servers[0].url.clone(), token };
    client.evaluate();
    let options: sqlx::postgres::PgConnectOptions = database.parse().unwrap();
    let store = sqlx::PgPool::connect_with(options).await.unwrap();
    until("both servers and the first look are noted", async || {
        let count = "SELECT count(*) FROM longrun.seen_policies";
        let noted: i64 = sqlx::query_scalar(count).fetch_one(&store).await.unwrap();
        (noted == 3).then_some(())
    })
    .await;
    for (objections, number) in [(["two"], 2), (["three"], 3)] {
        write_policy(folder.path(), &objections);
        let output = client.evaluation(number).await;
        assert_eq!(difference(&output)[0], objections);
    }
    // If each of the servers had followed the first change, its operation would be there too by now.
    assert_eq!(client.completed("evidence_reevaluation").len(), 2);
    for server in servers {
        server.process.signal("TERM");
        assert_eq!(server.process.exit_code(), 0);
    }
    let left: Vec<String> =
        sqlx::query_scalar("SELECT server FROM longrun.seen_policies").fetch_all(&store).await.unwrap();
    assert_eq!(left, [""], "servers that ended are waited for no more");
}
