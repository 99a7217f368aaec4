//! The reader: it lists operations all the time.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rand::RngExt as _;

use crate::client::{Call, Client};
use crate::world::{LIMITED_KIND, World};

const STEPS: u32 = 12;

/// Lists: the length of a page never contradicts its total, and no more operations of the limited kind run than may.
pub async fn read(world: Arc<World>) {
    let mut client = Client::new(&world, "reader");
    let (kind, most) = LIMITED_KIND;
    for _ in 0..STEPS {
        client.pause(Duration::from_millis(2_400)).await;
        let path = match client.random.random_range(0..3) {
            0 => "/v1/operations".to_owned(),
            1 => format!("/v1/operations?kind={kind}&status=ASYNC_OPERATION_STATUS_RUNNING"),
            _ => "/v1/operations?status=ASYNC_OPERATION_STATUS_PENDING".to_owned(),
        };
        let Some((listed, total)) = list(&mut client, &path).await else { continue };
        assert!(listed == total.min(50), "{path}: {listed} are listed, and there are {total}");
        assert!(!path.contains(kind) || total <= u64::from(most), "{total} of the kind {kind} run");
    }
}

/// The number of listed operations, and the total.
async fn list(client: &mut Client, path: &str) -> Option<(u64, u64)> {
    let answered = client.call(&Call::new(Method::GET, path)).await?;
    let (listed, total) = (&answered.body["operations"], &answered.body["pagination"]["total_count"]);
    let total = total.as_u64().or_else(|| total.as_str().and_then(|text| text.parse().ok()));
    let total = total.unwrap_or_else(|| panic!("no total in {}", answered.body));
    Some((listed.as_array().map_or(0, Vec::len) as u64, total))
}
