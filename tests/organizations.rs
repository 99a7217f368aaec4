//! The limits of organizations and what is paused, as operators set it and callers experience it.

use crate::common::{Ran, Server, admin_token, get, run_in};
use tempfile::{TempDir, tempdir};

/// A folder with a configuration, a store and a token of the organization "acme".
fn folder(config: &str) -> TempDir {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("longrun.toml"), config).unwrap();
    let store = format!("sqlite:{}", folder.path().join("longrun.db").display());
    std::fs::write(folder.path().join("token"), admin_token(&store)).unwrap();
    folder
}

struct Setup {
    server: Server,
    folder: TempDir,
}

impl Setup {
    fn start(config: &str) -> Setup {
        let folder = folder(config);
        Setup { server: Server::start(folder.path(), &[]), folder }
    }

    /// A command on the store.
    fn operator(&self, args: &[&str]) -> Ran {
        run_in(self.folder.path(), args)
    }

    /// A command that calls the server.
    fn caller(&self, args: &[&str]) -> Ran {
        run_in(self.folder.path(), &[args, &["--url", &self.server.url, "--token-file", "token"]].concat())
    }

    fn create(&self) -> Ran {
        self.caller(&["ops", "create", "--kind", "echo", "--input", "1", "-o", "id"])
    }

    fn organization(&self) -> serde_json::Value {
        self.operator(&["organizations", "list", "-o", "json"]).expect(0).json()[0].clone()
    }
}

const ECHO: &str = "[kinds.echo]\ntype = \"command\"\ncommand = [\"cat\"]\n";

#[test]
fn a_paused_kind_fills_the_queue_up_to_the_limit_and_goes_on_when_resumed() {
    let setup = Setup::start(&format!("[limits]\nmax_pending = 1\n[organizations.acme]\nmax_pending = 2\n{ECHO}"));
    assert_eq!(setup.operator(&["kinds", "pause", "echo"]).expect(0).line(), "paused: kind echo");
    let ids = [setup.create().expect(0).line(), setup.create().expect(0).line()];
    setup.create().expect(2).says("at most 2 operations that have not ended");
    let organization = setup.organization();
    assert_eq!((&organization["name"], &organization["pending"]), (&"acme".into(), &2.into()));
    let kinds = setup.operator(&["kinds", "list"]).expect(0).stdout;
    assert!(kinds.contains("echo") && kinds.contains("all"), "{kinds}");
    let (_, metrics) = get(&setup.server.admin_url, "/metrics", None);
    assert!(metrics.contains("longrun_paused{what=\"kind\"} 1"), "{metrics}");

    assert_eq!(setup.operator(&["kinds", "resume", "echo"]).expect(0).line(), "resumed: kind echo");
    for id in &ids {
        setup.caller(&["ops", "wait", id, "--quiet", "--timeout", "60s"]).expect(0);
    }
    setup.create().expect(0);
    setup.operator(&["kinds", "resume", "echo"]).expect(2).says("kind echo is not paused");
}

#[test]
fn a_paused_organization_starts_nothing_until_it_is_resumed() {
    let setup = Setup::start(ECHO);
    setup.operator(&["organizations", "pause", "nobody"]).expect(2).says("there is no organization nobody");
    setup.operator(&["organizations", "pause", "acme"]).expect(0);
    let id = setup.create().expect(0).line();
    assert!(setup.organization()["paused_since"].is_string());
    setup.operator(&["kinds", "pause", "echo", "--organization", "acme"]).expect(0);
    setup.operator(&["organizations", "resume", "acme"]).expect(0);
    let operation = setup.caller(&["ops", "get", &id, "-o", "json"]).expect(0).json();
    assert_eq!(operation["operation"]["status"], "ASYNC_OPERATION_STATUS_PENDING", "its kind is paused still");
    setup.operator(&["kinds", "resume", "echo", "--organization", "acme"]).expect(0);
    setup.caller(&["ops", "wait", &id, "--quiet", "--timeout", "60s"]).expect(0);
}

#[test]
fn limits_that_cannot_be_are_told_by_their_place() {
    let check = |config: &str| run_in(folder(config).path(), &["config", "check"]);
    check("[limits]\nrate = 0.5\nburst = 10\n[organizations.acme]\nweight = 3\nmax_pending = 0\n").expect(0);
    check("[organizations.acme]\nweigth = 3\n").expect(2).says("did you mean weight");
    check("[organizations.acme]\nmax_output = \"2MiB\"\n").expect(2).says("organizations.acme.max_output");
    check("[limits]\nburst = 10\n").expect(2).says("limits.burst: needs a rate");
    let told = check("[organizations.\" bad\"]\nweight = 3\n").expect(2);
    told.says("organizations. bad: \" bad\" is not a valid name for an organization");
    check("organizations = 3\n").expect(2).says("[organizations.acme]");
    let shown = folder("[organizations.acme]\nweight = 3\n");
    let shown = run_in(shown.path(), &["config", "show"]).expect(0).stdout;
    assert!(shown.lines().any(|line| line.starts_with("organizations.acme.weight") && line.contains('3')), "{shown}");
}
