//! What happens when policies in the policy folder change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence::{EvaluatorConfig, Status, digest};
use kinds::evaluation::KIND;
use kinds::reevaluation::{self, PolicyFollower};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::waivers::{World, counts};

fn script(objections: &[&str]) -> String {
    format!("package main\nimport rego.v1\nviolations := {}\n", json!(objections))
}

fn write(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join(file), text).unwrap();
}

/// Writes the policy `p`, which reports these violations.
fn write_policy(folder: &Path, objections: &[&str]) {
    write(folder, "p.yaml", &super::document(&script(objections)).to_string());
}

/// A world whose policies are in a folder.
async fn world() -> (World, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_policy(folder.path(), &["one", "two"]);
    let config = EvaluatorConfig { policy_dir: Some(folder.path().to_owned()), ..super::config() };
    (World::of(config).await, folder)
}

fn follower(world: &World, folder: &Path, server: Option<&str>) -> PolicyFollower {
    PolicyFollower::new(Arc::clone(&world.store), PathBuf::from(folder), server.map(str::to_owned))
}

/// Checks until the present files count as completely written; returns whether there was something to do.
async fn follow(follower: &PolicyFollower) -> bool {
    let first = follower.follow().await.unwrap();
    follower.follow().await.unwrap() || first
}

/// The output of the only operation that was created.
async fn reevaluated(world: &World) -> Value {
    serde_json::from_str(&world.run(reevaluation::KIND).await).unwrap()
}

pub async fn a_policy_that_changes_is_followed_once_with_what_is_new() {
    let (world, folder) = world().await;
    let follower = follower(&world, folder.path(), None);
    assert!(!follow(&follower).await, "there is nothing to compare with");
    world.create_by(json!({"policies": [{"ref": "file://./p.yaml"}]})).await;
    assert_eq!(world.evaluate().await.totals.violations, 2);
    world.create(&["embedded"]).await;
    world.evaluate().await;

    write_policy(folder.path(), &["two", "three"]);
    assert!(!follower.follow().await.unwrap(), "it may be incomplete");
    assert!(follower.follow().await.unwrap());
    assert!(!follow(&follower).await, "a change is handled once");
    let output = reevaluated(&world).await;
    assert_eq!(output["cause"], "changed in the policy folder: p");
    assert_eq!((&output["evidence"], &output["evaluations"]), (&json!(1), &json!(1)), "{output}");
    let again = world.evaluate().await;
    assert_eq!((again.status, counts(&again)), (Status::Failed, (1, 1, 1)));
    let difference = again.difference.unwrap();
    assert_eq!((&*difference.new[0].message, &*difference.gone[0].message), ("three", "one"));

    // Evaluations that ran by the present policies are not repeated.
    write_policy(folder.path(), &[]);
    world.create_by(json!({"policies": [{"ref": "file://./p.yaml"}]})).await;
    world.evaluate().await;
    assert!(follow(&follower).await);
    assert_eq!(reevaluated(&world).await["evaluations"], 0);

    // A policy that is removed and comes back with another content has changed.
    std::fs::remove_file(folder.path().join("p.yaml")).unwrap();
    assert!(!follow(&follower).await);
    write_policy(folder.path(), &["back"]);
    assert!(follow(&follower).await);
    assert_eq!(reevaluated(&world).await["evaluations"], 1);
    assert_eq!(counts(&world.evaluate().await), (1, 0, 0));
}

pub async fn a_script_and_a_group_are_followed_and_what_is_pinned_is_not() {
    let (world, folder) = world().await;
    let mut outside = super::document("");
    outside["metadata"]["name"] = json!("outside");
    outside["spec"]["policies"][0] = json!({"kind": "EVIDENCE", "path": "outside.rego"});
    write(folder.path(), "outside.yaml", &outside.to_string());
    write(folder.path(), "outside.rego", &script(&["one"]));
    let group = |policies: Value| {
        json!({"apiVersion": "chainloop.dev/v1", "kind": "PolicyGroup", "metadata": {"name": "g"},
            "spec": {"policies": {"materials": [{"policies": policies}]}}})
        .to_string()
    };
    write(folder.path(), "g.yaml", &group(json!([{"ref": "outside"}])));
    let follower = follower(&world, folder.path(), None);
    follow(&follower).await;
    let pinned = format!("p@{}", digest(&std::fs::read(folder.path().join("p.yaml")).unwrap()));
    for request in [
        json!({"policies": [{"ref": "outside"}]}),
        json!({"policy_groups": [{"ref": "g"}]}),
        json!({"policies": [{"ref": pinned}]}),
        json!({"policies": [{"ref": "p"}]}),
    ] {
        world.create_by(request).await;
        world.evaluate().await;
    }

    write(folder.path(), "outside.rego", &script(&[]));
    assert!(follow(&follower).await);
    let output = reevaluated(&world).await;
    assert_eq!(output["cause"], "changed in the policy folder: outside");
    assert_eq!(output["evaluations"], 2, "by the policy itself and by the group");
    assert_eq!(world.claim(KIND).await.len(), 2);

    write(folder.path(), "g.yaml", &group(json!([{"ref": "outside"}, {"ref": "p"}])));
    assert!(follow(&follower).await);
    let output = reevaluated(&world).await;
    assert_eq!((&output["cause"], &output["evaluations"]), (&json!("changed in the policy folder: g"), &json!(1)));
    let again = world.evaluate().await;
    assert_eq!(again.groups[0].name, "g");
    assert_eq!((again.policies.len(), counts(&again)), (2, (2, 1, 0)));

    write_policy(folder.path(), &[]);
    assert!(follow(&follower).await);
    assert_eq!(reevaluated(&world).await["evaluations"], 2, "not evaluations that pin their policy");
}

pub async fn a_change_while_no_server_runs_is_followed_and_a_first_look_is_not() {
    let (world, folder) = world().await;
    world.create_by(json!({"policies": [{"ref": "p"}]})).await;
    world.evaluate().await;
    write_policy(folder.path(), &["before the first check"]);
    assert!(!follow(&follower(&world, folder.path(), None)).await, "nothing is known of what was there before");
    write_policy(folder.path(), &["while it was down"]);
    assert!(follow(&follower(&world, folder.path(), None)).await);
    assert_eq!(reevaluated(&world).await["evaluations"], 1);
    assert!(!follow(&follower(&world, folder.path(), None)).await);
    assert_eq!(counts(&world.evaluate().await), (1, 2, 0));
}

pub async fn servers_that_see_different_policies_wait_and_follow_once() {
    let (world, old) = world().await;
    let new = tempfile::tempdir().unwrap();
    write_policy(new.path(), &["one", "two"]);
    world.create_by(json!({"policies": [{"ref": "p"}]})).await;
    world.evaluate().await;
    let (a, b) = (follower(&world, old.path(), Some("a")), follower(&world, new.path(), Some("b")));
    for server in [&a, &b, &a] {
        assert!(!follow(server).await);
    }

    write_policy(new.path(), &["three"]);
    for server in [&b, &a, &b, &a] {
        assert!(!follow(server).await, "the other server sees something else");
    }
    assert_eq!(world.claim(reevaluation::KIND).await.len(), 0);

    write_policy(old.path(), &["three"]);
    let mut begun = Vec::new();
    for server in [&a, &b, &a, &b] {
        begun.push(follow(server).await);
    }
    assert_eq!(begun.iter().filter(|begun| **begun).count(), 1, "{begun:?}");
    assert_eq!(reevaluated(&world).await["evaluations"], 1);
    assert_eq!(counts(&world.evaluate().await), (1, 2, 0));

    // Others no longer wait for a server that stopped in good order.
    write_policy(new.path(), &["four"]);
    assert!(!follow(&b).await);
    world.store.forget_policies("a").await.unwrap();
    assert!(follow(&b).await);
    assert_eq!(reevaluated(&world).await["cause"], "changed in the policy folder: p");

    // Both may create it at the same time: both creations have the same key.
    let later = follower(&world, new.path(), Some("c"));
    write_policy(new.path(), &["five"]);
    for server in [&b, &later] {
        assert!(!server.follow().await.unwrap());
    }
    let both = tokio::join!(b.follow(), later.follow());
    let more = [follow(&b).await, follow(&later).await];
    assert!([both.0.unwrap(), both.1.unwrap(), more[0], more[1]].contains(&true));
    assert_eq!(world.claim(reevaluation::KIND).await.len(), 1);
}
