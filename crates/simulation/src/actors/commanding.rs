//! Cancels, retries and deletes existing operations.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use operations::OperationId;
use rand::RngExt as _;
use serde_json::Value;
use store::OperationCommand;

use super::status;
use crate::client::{Call, Client};
use crate::history::{Answer, Seen};
use crate::world::World;

const STEPS: u32 = 22;

/// Sends commands for operations whose creation was answered.
pub async fn command(world: Arc<World>) {
    let mut client = Client::new(&world, "commander");
    for _ in 0..STEPS {
        client.pause(Duration::from_millis(1_600)).await;
        let there = world.record.created();
        let Some(id) = there.get(client.random.random_range(0..there.len().max(1))).copied() else { continue };
        let command = match client.random.random_range(0..10) {
            0..4 => OperationCommand::Cancel,
            4..8 => OperationCommand::Retry,
            _ => OperationCommand::Delete,
        };
        steer(&mut client, id, command).await;
    }
}

/// One command, sometimes in two calls, of which the first may be lost.
pub async fn steer(client: &mut Client, id: OperationId, command: OperationCommand) {
    let call = match command {
        OperationCommand::Cancel => Call::new(Method::POST, format!("/v1/operations/{id}:cancel")),
        OperationCommand::Retry => Call::new(Method::POST, format!("/v1/operations/{id}:retry")),
        OperationCommand::Delete => Call::new(Method::DELETE, format!("/v1/operations/{id}")),
    };
    let begun = client.world.begin(id, seen(command, Answer::Unknown));
    let answer = match client.call(&call).await {
        None => Answer::Unknown,
        Some(answered) if answered.status.is_success() => Answer::Accepted(answered.body),
        Some(_) => Answer::Refused,
    };
    begun.end(seen(command, answer));
}

fn seen(command: OperationCommand, answer: Answer<Value>) -> Seen {
    match command {
        OperationCommand::Cancel => Seen::Cancelled(with(answer, |body| status(&body["operation"]["status"]))),
        OperationCommand::Retry => Seen::Retried(with(answer, |_| ())),
        OperationCommand::Delete => Seen::Deleted(with(answer, |_| ())),
    }
}

fn with<T, U>(answer: Answer<T>, read: impl FnOnce(T) -> U) -> Answer<U> {
    match answer {
        Answer::Accepted(accepted) => Answer::Accepted(read(accepted)),
        Answer::Refused => Answer::Refused,
        Answer::Unknown => Answer::Unknown,
    }
}
