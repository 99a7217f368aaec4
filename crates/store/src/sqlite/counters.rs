//! Changes of the exact counts, gathered in memory and written once per batch.

use std::collections::BTreeMap;

use operations::page::{FINEST, LEVELS, bucket};
use operations::{Operation, Resource, Status};
use rusqlite::{Connection, ToSql};

use super::resources::Resources;
use crate::StoreError;

/// Signed changes, one for each status in the order of their numbers.
type Counts = [i64; 4];

/// The key of operations that are counted together, on the finest level.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    organization: String,
    project_id: String,
    kind: String,
    /// The number of a resource that has counters.
    resource: Option<i64>,
    bucket: i64,
}

/// Changes by this key. The coarser levels, projects and resources are distinguished when they are written: there are
/// many operations, and few rows that count them.
pub(super) struct Changes<'r> {
    counted: &'r Resources,
    /// Those of the operation that was added last: the next one is mostly counted with it.
    last: Option<(Key, Counts)>,
    others: BTreeMap<Key, Counts>,
}

/// The fields that an operation is counted under, besides its status.
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
        Changes { counted, last: None, others: BTreeMap::new() }
    }

    /// An operation that was counted under `from` is counted under `to`; `None`: it is new, or it is removed.
    pub(super) fn add(&mut self, operation: &Counted<'_>, from: Option<Status>, to: Option<Status>) {
        let counts = self.of(operation);
        for (status, by) in [(from, -1), (to, 1)] {
            if let Some(status) = status {
                counts[usize::from(status.number() - 1)] += by;
            }
        }
    }

    /// The changes to which those of an operation are added.
    fn of(&mut self, operation: &Counted<'_>) -> &mut Counts {
        let Counted { organization, project_id, seq, kind, resource } = *operation;
        let resource = resource.and_then(|resource| self.counted.get(organization, resource));
        let bucket = bucket(seq, FINEST);
        let is_last = self.last.as_ref().is_some_and(|(last, _)| {
            last.bucket == bucket
                && last.resource == resource
                && last.kind == kind
                && last.project_id == project_id
                && last.organization == organization
        });
        if !is_last {
            self.put_last_to_others();
            let text = str::to_owned;
            let (organization, project_id, kind) = (text(organization), text(project_id), text(kind));
            let key = Key { organization, project_id, kind, resource, bucket };
            let counts = self.others.remove(&key).unwrap_or_default();
            self.last = Some((key, counts));
        }
        let (_, counts) = self.last.as_mut().expect("it was put there");
        counts
    }

    fn put_last_to_others(&mut self) {
        self.others.extend(self.last.take());
    }

    /// Writes the changes.
    pub(super) fn write(mut self, connection: &Connection) -> Result<(), StoreError> {
        self.put_last_to_others();
        let (mut organizations, mut projects, mut resources) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (key, counts) in &self.others {
            let Key { organization, project_id, kind, .. } = key;
            for level in LEVELS {
                let bucket = key.bucket >> (level - FINEST);
                add(&mut organizations, (organization, level, bucket, kind), counts);
                if !project_id.is_empty() {
                    add(&mut projects, (organization, project_id, level, bucket, kind), counts);
                }
                if let Some(resource) = &key.resource {
                    add(&mut resources, (resource, level, bucket, kind, project_id), counts);
                }
            }
        }
        write(connection, ADD, &organizations, |(organization, level, bucket, kind)| {
            [*organization as &dyn ToSql, level, bucket, *kind]
        })?;
        write(connection, ADD_PROJECTS, &projects, |(organization, project, level, bucket, kind)| {
            [*organization as &dyn ToSql, *project, level, bucket, *kind]
        })?;
        write(connection, ADD_RESOURCES, &resources, |(resource, level, bucket, kind, project)| {
            [*resource as &dyn ToSql, level, bucket, *kind, *project]
        })
    }
}

fn add<K: Ord>(all: &mut BTreeMap<K, Counts>, key: K, changes: &Counts) {
    let counts = all.entry(key).or_default();
    counts.iter_mut().zip(changes).for_each(|(count, change)| *count += change);
}

/// Adds to counts by a statement that takes a key and four numbers.
fn write<'k, K: 'k, const N: usize>(
    connection: &Connection,
    sql: &str,
    changes: &'k BTreeMap<K, Counts>,
    key: impl Fn(&'k K) -> [&'k dyn ToSql; N],
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    for (counted, counts) in changes.iter().filter(|(_, counts)| **counts != [0; 4]) {
        let numbers = counts.iter().map(|count| count as &dyn ToSql);
        statement.execute(rusqlite::params_from_iter(key(counted).into_iter().chain(numbers)))?;
    }
    Ok(())
}

const ADD: &str = "
    INSERT INTO counters (organization_id, level, bucket, kind, pending, running, completed, failed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";

const ADD_PROJECTS: &str = "
    INSERT INTO project_counters (organization_id, project_id, level, bucket, kind, pending, running, completed, failed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";

const ADD_RESOURCES: &str = "
    INSERT INTO resource_counters (resource, level, bucket, kind, project_id, pending, running, completed, failed)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT DO UPDATE SET pending = pending + excluded.pending, running = running + excluded.running,
        completed = completed + excluded.completed, failed = failed + excluded.failed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_operations_that_take_turns_are_gathered_by_what_they_are_counted_under() {
        let resources = Resources::default();
        let mut changes = Changes::new(&resources);
        for seq in 1..=10 {
            let kind = if seq % 2 == 0 { "even" } else { "odd" };
            let counted = Counted { organization: "o", project_id: "p", seq, kind, resource: None };
            changes.add(&counted, None, Some(Status::Pending));
            changes.add(&counted, Some(Status::Pending), Some(Status::Running));
        }
        changes.put_last_to_others();
        let gathered: Vec<_> = changes.others.iter().map(|(key, counts)| (key.kind.as_str(), *counts)).collect();
        assert_eq!(gathered, [("even", [0, 5, 0, 0]), ("odd", [0, 5, 0, 0])]);
    }
}
