//! The callers: creators, one that sends commands, workers, one that reads, one that watches.

mod commanding;
mod creating;
mod reading;
mod watching;
mod working;

use operations::{OperationId, Status};
use serde_json::Value;

pub use commanding::{command, steer};
pub use creating::{create, schedule};
pub use reading::read;
pub use watching::{Watched, judge_watched, watch};
pub use working::work;

use crate::world::World;

/// The id of an operation in an answer; from now on the requested operation is known by this id.
fn recognize(world: &World, operation: &Value) -> OperationId {
    let text = |name: &str| operation[name].as_str().unwrap_or_else(|| panic!("no {name} in {operation}"));
    let id = text("id").parse().unwrap_or_else(|_| panic!("no id in {operation}"));
    world.recognize(id, text("project_version_id"));
    id
}

/// A status by its name in answers.
fn status(text: &Value) -> Status {
    match text.as_str().and_then(|text| text.strip_prefix("ASYNC_OPERATION_STATUS_")) {
        Some("PENDING") => Status::Pending,
        Some("RUNNING") => Status::Running,
        Some("COMPLETED") => Status::Completed,
        Some("FAILED") => Status::Failed,
        _ => panic!("{text} is not a status"),
    }
}
