//! Resources that have many operations: they have counters, as organizations and projects do.
//!
//! The others are counted along their range of an index, which is short. Which resource has many is noticed when one of
//! its operations is created, by a check at one of [`LOOKS`] creations; from then on every transaction that changes the
//! status of one of its operations changes its counters. The writer keeps the counted resources in memory, so that the
//! others cost it nothing. It forgets those of an organization that is deleted, and all of them when another process
//! has written: that process may have deleted some.

use std::collections::HashMap;

use operations::Resource;
use rusqlite::{Connection, OptionalExtension as _};

use super::statement::query;
use crate::StoreError;

/// From this number on, operations are many: counting fewer along the index takes about a twentieth of a millisecond.
const MANY: i64 = 1_024;
/// One creation out of this many checks whether its resource has many, so that a creation pays next to nothing for it.
const LOOKS: u64 = 64;

/// Those known to the writer, by organization, type and id.
#[derive(Default)]
pub(super) struct Resources {
    counted: HashMap<String, HashMap<String, HashMap<String, i64>>>,
    /// The last one known.
    last: i64,
    /// What SQLite said of commits by connections other than the writer's, when it checked last.
    others: i64,
}

/// A number that changes whenever another connection has committed something.
const OTHERS: &str = "PRAGMA data_version";

const LATER: &str = "
    SELECT resource, organization_id, resource_type, resource_id FROM counted_resources WHERE resource > ?1
    ORDER BY resource";

const FIND: &str = "
    SELECT resource FROM counted_resources
    WHERE organization_id = ?1 AND resource_type = ?2 AND resource_id = ?3";

/// Served by active_by_resource and settled_by_resource.
const HAS_MANY: &str = "
    SELECT (SELECT count(*) FROM (
            SELECT 1 FROM active INDEXED BY active_by_resource
            WHERE organization_id = ?1 AND resource_type <> '' AND resource_type = ?2 AND resource_id = ?3
            LIMIT ?4 + 0))
        + (SELECT count(*) FROM (
            SELECT 1 FROM settled INDEXED BY settled_by_resource
            WHERE organization_id = ?1 AND resource_type <> '' AND resource_type = ?2 AND resource_id = ?3
            LIMIT ?4 + 0)) >= ?4";

const ADD: &str = "
    INSERT INTO counted_resources (organization_id, resource_type, resource_id) VALUES (?1, ?2, ?3) RETURNING resource";

const COUNT: &str = "
    WITH levels (level) AS (VALUES (12), (16), (20)), op (seq, kind, project_id, status) AS (
        SELECT seq, kind, project_id, status FROM active INDEXED BY active_by_resource
        WHERE organization_id = ?1 AND resource_type <> '' AND resource_type = ?2 AND resource_id = ?3
        UNION ALL
        SELECT seq, kind, project_id, status FROM settled INDEXED BY settled_by_resource
        WHERE organization_id = ?1 AND resource_type <> '' AND resource_type = ?2 AND resource_id = ?3
    )
    INSERT INTO resource_counters (resource, level, bucket, kind, project_id, pending, running, completed, failed)
    SELECT ?4, level, seq >> level, kind, project_id, sum(status = 1), sum(status = 2), sum(status = 3), sum(status = 4)
    FROM op CROSS JOIN levels GROUP BY level, seq >> level, kind, project_id";

impl Resources {
    /// The number under which a resource is counted; `None` when it is not.
    pub(super) fn get(&self, organization: &str, resource: &Resource) -> Option<i64> {
        self.counted.get(organization)?.get(&resource.resource_type)?.get(&resource.resource_id).copied()
    }

    /// Learns which resources are counted since the last check, also by another process, and which no longer are.
    pub(super) fn refresh(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let others: i64 = connection.prepare_cached(OTHERS)?.query_row([], |row| row.get(0))?;
        if self.others != others {
            *self = Resources { others, ..Resources::default() };
        }
        let mut statement = connection.prepare_cached(LATER)?;
        let mut rows = statement.query([self.last])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.learn(row.get(1)?, row.get(2)?, row.get(3)?, number);
        }
        Ok(())
    }

    /// An organization is deleted: one that is created anew with its name has none of them.
    pub(super) fn forget(&mut self, organization: &str) {
        self.counted.remove(organization);
    }

    fn learn(&mut self, organization: String, resource_type: String, resource_id: String, number: i64) {
        self.counted.entry(organization).or_default().entry(resource_type).or_default().insert(resource_id, number);
        self.last = self.last.max(number);
    }

    /// After an operation of the resource was written and counted: decides whether the resource is counted from now on.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        organization: &str,
        resource: &Resource,
    ) -> Result<(), StoreError> {
        if self.get(organization, resource).is_some() {
            return Ok(());
        }
        let Resource { resource_type, resource_id } = resource;
        let with_key = |sql: &'static str| query(sql).bind(organization).bind(resource_type).bind(resource_id);
        if !with_key(HAS_MANY).bind(MANY).fetch_one(connection)?.try_get::<bool>(0)? {
            return Ok(());
        }
        let number: i64 = with_key(ADD).fetch_one(connection)?.try_get(0)?;
        with_key(COUNT).bind(number).execute(connection)?;
        self.learn(organization.to_owned(), resource_type.clone(), resource_id.clone(), number);
        Ok(())
    }
}

/// Whether the creation of an operation with this number checks: one of [`LOOKS`], evenly over every regular choice of
/// numbers (the finaliser of SplitMix64).
pub(super) fn is_looked_at(seq: i64) -> bool {
    let mut scattered = seq.cast_unsigned();
    scattered = (scattered ^ (scattered >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    scattered = (scattered ^ (scattered >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (scattered ^ (scattered >> 31)).is_multiple_of(LOOKS)
}

/// The number under which a resource is counted, as a snapshot has it.
pub(super) fn find(
    connection: &Connection,
    organization: &str,
    resource: &Resource,
) -> Result<Option<i64>, StoreError> {
    let mut statement = connection.prepare_cached(FIND)?;
    let found = statement.query_row((organization, &resource.resource_type, &resource.resource_id), |row| row.get(0));
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_regular_choice_of_numbers_is_looked_at() {
        for step in 1..=128 {
            let numbers = (0..MANY).map(|n| n * step + 5);
            let looks = numbers.filter(|seq| is_looked_at(*seq)).count();
            assert!((4..64).contains(&looks), "of every {step}. number {looks} are checked");
        }
    }
}
