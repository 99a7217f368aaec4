//! Changes of the exact counts, gathered in memory and written once per batch.

use std::collections::BTreeMap;

use operations::page::{LEVELS, bucket};
use operations::{Operation, Resource, Status};
use serde_json::{Value, json};

use super::resources::Resources;
use super::script::Script;

/// Signed changes, one for each status in the order of their numbers, by key in key order.
pub(super) struct Changes<'r> {
    counted: &'r Resources,
    organizations: BTreeMap<(String, u32, i64, String), [i64; 4]>,
    projects: BTreeMap<(String, String, u32, i64, String), [i64; 4]>,
    resources: BTreeMap<(i64, u32, i64, String, String), [i64; 4]>,
}

/// What an operation is counted under, besides its status.
pub(super) struct Counted<'a> {
    pub(super) organization: &'a str,
    pub(super) project_id: &'a str,
    pub(super) seq: i64,
    pub(super) kind: &'a str,
    pub(super) resource: Option<&'a Resource>,
}

impl<'a> Counted<'a> {
    pub(super) fn of(organization: &'a str, seq: i64, operation: &'a Operation) -> Counted<'a> {
        let Operation { project_id, kind, resource, .. } = operation;
        Counted { organization, project_id, seq, kind, resource: resource.as_ref() }
    }
}

impl<'r> Changes<'r> {
    /// No changes yet; `counted` says which resources have counters.
    pub(super) fn new(counted: &'r Resources) -> Changes<'r> {
        let (organizations, projects, resources) = Default::default();
        Changes { counted, organizations, projects, resources }
    }

    /// Counts one operation more (`by` = 1) or fewer (−1) under `status`.
    pub(super) fn add(&mut self, operation: &Counted<'_>, status: Status, by: i64) {
        let Counted { organization, project_id, seq, kind, resource } = operation;
        let resource = resource.and_then(|resource| self.counted.get(organization, resource));
        let status = usize::from(status.number() - 1);
        for level in LEVELS {
            let bucket = bucket(*seq, level);
            let key = ((*organization).to_owned(), level, bucket, (*kind).to_owned());
            self.organizations.entry(key).or_default()[status] += by;
            if !project_id.is_empty() {
                let key = ((*organization).to_owned(), (*project_id).to_owned(), level, bucket, (*kind).to_owned());
                self.projects.entry(key).or_default()[status] += by;
            }
            if let Some(resource) = resource {
                let key = (resource, level, bucket, (*kind).to_owned(), (*project_id).to_owned());
                self.resources.entry(key).or_default()[status] += by;
            }
        }
    }

    /// Adds the changes to what is to be written.
    pub(super) fn add_to(self, script: &mut Script) {
        add(script, ADD, self.organizations, |(organization, level, bucket, kind)| {
            vec![json!(organization), json!(level), json!(bucket), json!(kind)]
        });
        add(script, ADD_PROJECTS, self.projects, |(organization, project, level, bucket, kind)| {
            vec![json!(organization), json!(project), json!(level), json!(bucket), json!(kind)]
        });
        add(script, ADD_RESOURCES, self.resources, |(resource, level, bucket, kind, project)| {
            vec![json!(resource), json!(level), json!(bucket), json!(kind), json!(project)]
        });
    }
}

/// Has counts added to by a statement that takes rows of a key and four numbers.
fn add<K>(script: &mut Script, sql: &'static str, counts: BTreeMap<K, [i64; 4]>, key: impl Fn(K) -> Vec<Value>) {
    let changed = counts.into_iter().filter(|(_, n)| *n != [0; 4]);
    let rows: Vec<Value> =
        changed.map(|(counted, n)| key(counted).into_iter().chain(n.map(Value::from)).collect()).collect();
    if !rows.is_empty() {
        script.add(sql).bind(Value::Array(rows).to_string());
    }
}

// "WHERE true" keeps the parser from reading ON CONFLICT as a join condition (SQLite documents this ambiguity).
const ADD: &str = "
    INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
    FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";

const ADD_PROJECTS: &str = "
    INSERT INTO project_counters (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
    FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";

const ADD_RESOURCES: &str = "
    INSERT INTO resource_counters (resource, level, bucket, kind, project_id, pending, running, completed, failed)
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8
    FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";
