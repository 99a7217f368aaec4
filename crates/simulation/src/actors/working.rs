//! Workers: they finish, fail, release, forget what they hold, or come back late with operations that they no longer
//! hold.

use std::sync::Arc;
use std::time::Duration;

use operations::OperationId;
use rand::RngExt as _;
use serde_json::{Value, json};
use store::OperationCommand;

use super::{recognize, status, steer};
use crate::client::{Call, Client};
use crate::history::{Answer, Seen, TICK};
use crate::world::{REMOTE_KINDS, World};

/// An operation that a worker holds, or held.
#[derive(Clone, Debug)]
struct Held {
    id: OperationId,
    token: String,
    fence: u64,
}

impl Held {
    /// The text that the worker reports for an attempt: no two attempts report the same.
    fn text(&self) -> String {
        format!("{} {}", self.id, self.fence)
    }
}

/// Works forever, well and badly, and only well once no new operations are created.
pub async fn work(world: Arc<World>, name: String) {
    let mut client = Client::new(&world, name);
    let mut stalled: Vec<Held> = Vec::new();
    loop {
        for held in claim(&mut client).await {
            if world.is_finishing() {
                settle(&mut client, &held, json!({"output": held.text()})).await;
                continue;
            }
            client.pause(Duration::from_millis(1_200)).await;
            match client.random.random_range(0..10) {
                0..4 => settle(&mut client, &held, json!({"output": held.text()})).await,
                4 => settle(&mut client, &held, json!({"error_message": held.text(), "retryable": false})).await,
                5 | 6 => {
                    // Somebody may cancel it at this moment.
                    if client.random.random_bool(0.4) {
                        steer(&mut client, held.id, OperationCommand::Cancel).await;
                    }
                    settle(&mut client, &held, json!({"error_message": held.text(), "retryable": true})).await;
                }
                7 => give_back(&mut client, &held).await,
                8 => stalled.push(held),
                // The worker dies: it sends nothing more.
                _ => {}
            }
        }
        if let Some(late) = stalled.first().cloned()
            && (world.is_finishing() || client.random.random_bool(0.4))
        {
            beat(&mut client, &late).await;
            // The worker comes back, perhaps while another worker has the operation.
            if world.is_finishing() || client.random.random_bool(0.4) {
                settle(&mut client, &late, json!({"output": late.text()})).await;
                stalled.remove(0);
            }
        }
    }
}

async fn claim(client: &mut Client) -> Vec<Held> {
    let wait = if client.random.random_bool(0.5) { 0 } else { 2 };
    let kinds = [REMOTE_KINDS[0], REMOTE_KINDS[1], TICK];
    let most = client.random.random_range(1..=3);
    let body = json!({"kinds": kinds, "max_operations": most, "wait": format!("{wait}s")});
    let call = Call { wait: Duration::from_secs(wait), ..Call::post("/v1/operations:claim", body) };
    let from = client.world.record.begin();
    let answered = client.call(&call).await;
    let claimed = answered.and_then(|answered| answered.body["operations"].as_array().cloned()).unwrap_or_default();
    let mut all = Vec::new();
    for claimed in claimed {
        let id = recognize(&client.world, &claimed["operation"]);
        let token = claimed["lease_token"].as_str().unwrap_or_default().to_owned();
        let fence = token.split('.').nth(1).and_then(|fence| fence.parse().ok());
        let fence = fence.unwrap_or_else(|| panic!("no fencing token in {token}"));
        client.world.note(from, id, Seen::Claimed(fence));
        all.push(Held { id, token, fence });
    }
    if all.is_empty() {
        client.pause(Duration::from_millis(500)).await;
    }
    all
}

/// Reports the outcome of an attempt; a worker that got no answer reports it once more.
async fn settle(client: &mut Client, held: &Held, how: Value) {
    let mut row = json!({"id": held.id.to_string(), "lease_token": held.token});
    how.as_object().into_iter().flatten().for_each(|(name, value)| row[name] = value.clone());
    let call = Call::post("/v1/operations:settle", json!({"results": [row]}));
    // The server may have recorded a settlement that was not answered; when it is sent again, it gets the same answer:
    // the interval of the call begins with the first one.
    let settled = |answer| Seen::Settled { fence: held.fence, text: held.text(), answer };
    let begun = client.world.begin(held.id, settled(Answer::Unknown));
    let mut asked = false;
    loop {
        let answer = match client.call(&call).await.map(|answered| answered.body["results"][0].clone()) {
            Some(result) if result["status"].is_string() => Answer::Accepted(status(&result["status"])),
            // The answer to the second call does not show whether the first was carried out.
            Some(_) if asked => Answer::Unknown,
            Some(result) if result["error"].is_object() => Answer::Refused,
            Some(result) => panic!("a settlement was answered with {result}"),
            None if asked => Answer::Unknown,
            None => {
                asked = true;
                continue;
            }
        };
        return begun.end(settled(answer));
    }
}

async fn give_back(client: &mut Client, held: &Held) {
    let row = json!({"id": held.id.to_string(), "lease_token": held.token, "release": true});
    let call = Call::post("/v1/operations:settle", json!({"results": [row]}));
    let begun = client.world.begin(held.id, Seen::Released { fence: held.fence, answer: Answer::Unknown });
    let answer = match client.call(&call).await.map(|answered| answered.body["results"][0].clone()) {
        Some(result) if result["error"].is_object() => Answer::Refused,
        Some(result) if result["id"].is_string() => Answer::Accepted(()),
        Some(result) => panic!("a release was answered with {result}"),
        None => Answer::Unknown,
    };
    begun.end(Seen::Released { fence: held.fence, answer });
}

async fn beat(client: &mut Client, held: &Held) {
    let row = json!({"id": held.id.to_string(), "lease_token": held.token, "progress": "still at it"});
    let call = Call::post("/v1/operations:heartbeat", json!({"operations": [row]}));
    let from = client.world.record.begin();
    match client.call(&call).await.map(|answered| answered.body["operations"][0].clone()) {
        Some(result) if result["error"].is_object() => client.world.note(from, held.id, Seen::Lost(held.fence)),
        Some(result) if result["id"].is_string() => client.world.note(from, held.id, Seen::Held(held.fence)),
        Some(result) => panic!("a heartbeat was answered with {result}"),
        None => {}
    }
}
