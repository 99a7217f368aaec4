//! Creators: they create one operation or several, with idempotency keys that are reused and used twice at once,
//! contested unique keys, concurrency keys, labels, and a retention.

use std::sync::Arc;
use std::time::Duration;

use operations::{Concurrency, NewOperation};
use rand::RngExt as _;
use serde_json::{Value, json};

use super::recognize;
use crate::client::{Answered, Call, Client};
use crate::history::{EVERY, RETAIN_FOR, Seen, TICK};
use crate::world::{LOCAL_KIND, REMOTE_KINDS, World, lock};

/// The number of creations of each creator.
const STEPS: u32 = 7;
/// The concurrency keys, and how many operations with each may run at a time.
const KEYS: [(&str, u32); 2] = [("one", 1), ("two", 2)];
/// How long attempts of some operations may take.
const TIMEOUT: Duration = Duration::from_secs(1);
const UNIQUE_KEYS: [&str; 2] = ["first", "second"];

/// Creates the schedule, each due time of which is to create one operation.
pub async fn schedule(world: Arc<World>) {
    let mut client = Client::new(&world, "scheduler");
    let body = json!({
        "name": TICK, "every": format!("{}s", EVERY.as_secs()), "catch_up": "all", "operation": {"kind": TICK},
    });
    // A name can be used once: a caller that got no answer and calls again learns that the schedule exists.
    while client.call(&Call::post("/v1/schedules", body.clone())).await.is_none() {
        client.pause(Duration::from_millis(500)).await;
    }
}

/// Creates operations, each with a key until the call is answered.
pub async fn create(world: Arc<World>, name: String) {
    let (mut client, mut other) = (Client::new(&world, &*name), Client::new(&world, format!("{name}-again")));
    for step in 0..STEPS {
        let number = if client.random.random_bool(0.6) { 1 } else { client.random.random_range(2..=3) };
        let new: Vec<NewOperation> = (0..number).map(|place| anything(&mut client, step, place, number > 1)).collect();
        new.iter().for_each(|new| world.ask(new));
        let shortly = new.iter().any(|new| new.retain_for.is_some());
        let key = (shortly || client.random.random_bool(0.5)).then(|| format!("{name}-{step}"));
        let bodies: Vec<Value> = new.iter().map(body_of).collect();
        let mut call = match &bodies[..] {
            [one] => Call::post("/v1/operations", one.clone()),
            all => Call::post("/v1/operations:batchCreate", json!({ "operations": all })),
        };
        call.key = key;
        loop {
            // The answer is late, and the call is made a second time meanwhile.
            let is_answered = if call.key.is_some() && client.random.random_bool(0.3) {
                let answered = tokio::join!(ask(&mut client, &call), ask(&mut other, &call));
                answered.0 || answered.1
            } else {
                ask(&mut client, &call).await
            };
            if is_answered || call.key.is_none() {
                break;
            }
            client.pause(Duration::from_millis(800)).await;
        }
        client.pause(Duration::from_millis(2_500)).await;
    }
}

/// Makes one call; returns whether it was answered.
async fn ask(client: &mut Client, call: &Call) -> bool {
    let from = client.world.record.begin();
    let Some(Answered { status, existing, body }) = client.call(call).await else { return false };
    if !status.is_success() {
        // An earlier call created the operation, and it has been deleted since.
        let is_gone = body.to_string().contains("IDEMPOTENT_OPERATION_DELETED");
        assert!(is_gone, "a creation was refused: {status} {body}");
        return true;
    }
    let (operations, existing) = match body["operations"].as_array() {
        Some(operations) => {
            let existing = body["existing"].as_array().cloned().unwrap_or_default();
            (operations.clone(), existing.iter().filter_map(Value::as_u64).collect())
        }
        None => (vec![body["operation"].clone()], if existing { vec![0] } else { Vec::new() }),
    };
    let world = Arc::clone(&client.world);
    let mut ids = Vec::new();
    for (place, operation) in operations.iter().enumerate() {
        let id = recognize(&world, operation);
        let is_found = call.key.is_none() && existing.contains(&(place as u64));
        world.note(from, id, if is_found { Seen::Found } else { Seen::Created });
        ids.push(id);
    }
    if let Some(key) = &call.key {
        lock(&world.record.keyed).push((key.clone(), ids));
    }
    true
}

/// An operation with a concurrency key, a unique key or neither. Operations that are created together have no unique
/// key.
fn anything(client: &mut Client, step: u32, place: u32, among_others: bool) -> NewOperation {
    let name = client.name.clone();
    let random = &mut client.random;
    let key = KEYS.get(random.random_range(0..KEYS.len() * 3));
    let unique = UNIQUE_KEYS.get(random.random_range(0..UNIQUE_KEYS.len() * 2));
    let unique = unique.filter(|_| key.is_none() && !among_others);
    let labels = random.random_bool(0.3).then(|| ("n".to_owned(), format!("{}", (step + place) % 3)));
    let kinds = [REMOTE_KINDS[0], REMOTE_KINDS[1], LOCAL_KIND];
    NewOperation {
        priority: random.random_range(-1..=1),
        max_attempts: random.random_range(1..=3),
        concurrency: key.map(|(key, limit)| Concurrency { key: (*key).to_owned(), limit: *limit }),
        unique_key: unique.map(|key| (*key).to_owned()),
        labels: labels.into_iter().collect(),
        retain_for: random.random_bool(0.25).then_some(RETAIN_FOR),
        // Some attempts take longer.
        timeout: random.random_bool(0.2).then_some(TIMEOUT),
        project_id: format!("project-{}", random.random_range(0..2)),
        project_version_id: format!("{name}-{step}-{place}"),
        ..NewOperation::of_kind(kinds[random.random_range(0..kinds.len())])
    }
}

/// The body of the request that creates it.
fn body_of(new: &NewOperation) -> Value {
    let mut body = json!({
        "kind": new.kind, "project_id": new.project_id, "project_version_id": new.project_version_id,
        "priority": new.priority, "max_attempts": new.max_attempts, "labels": new.labels,
    });
    if let Some(retain_for) = new.retain_for {
        body["retain_for"] = json!(format!("{}s", retain_for.as_secs()));
    }
    if let Some(timeout) = new.timeout {
        body["timeout"] = json!(format!("{}s", timeout.as_secs()));
    }
    if let Some(Concurrency { key, limit }) = &new.concurrency {
        (body["concurrency_key"], body["concurrency_limit"]) = (json!(key), json!(limit));
    }
    if let Some(unique_key) = &new.unique_key {
        body["unique_key"] = json!(unique_key);
    }
    body
}
