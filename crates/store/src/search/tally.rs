//! Counting by counters: which of them are added, and which are subtracted.

use std::collections::BTreeSet;
use std::ops::Range;

use operations::Status;
use operations::page::FINEST;
use operations::search::Set;

use super::Snapshot;
use super::plan::Plan;
use super::sql::{Cells, Column, Sql};
use crate::StoreError;

/// Projects that one statement reads.
const PROJECTS: usize = 1_000;

/// Operations by status, in the order of their numbers.
pub(crate) type ByStatus = [i64; 4];

/// A count that is not in the counters yet.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    /// Of the finest level.
    pub(crate) bucket: i64,
    pub(crate) project_id: String,
    pub(crate) kind: String,
    pub(crate) n: ByStatus,
}

/// The counts of a bucket for a kind, and for a project where projects are distinguished.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) bucket: i64,
    pub(super) kind: String,
    pub(super) project_id: String,
    pub(super) n: ByStatus,
}

impl Tally {
    /// How many have one of these statuses.
    pub(super) fn of(&self, statuses: &[Status]) -> i64 {
        statuses.iter().map(|status| self.n[usize::from(status.number()) - 1]).sum()
    }
}

/// Which counters add up to the operations of a plan.
#[derive(Clone, Debug)]
pub(super) struct Whose {
    /// Those of all operations, whatever their project.
    all: bool,
    /// Those of projects: under which one they are reported, and whether they are added or subtracted.
    projects: Vec<(String, String, i64)>,
    /// Counts that are not in the counters yet.
    pub(super) deltas: Vec<Delta>,
}

impl Whose {
    /// Reads, where it matters, which projects there are; `deltas` are not in the counters yet.
    pub(super) async fn of(
        snapshot: &mut impl Snapshot,
        plan: &Plan,
        by_project: bool,
        deltas: Vec<Delta>,
    ) -> Result<Whose, StoreError> {
        let set = &plan.projects;
        let has_none = set.contains("");
        let named = match set {
            Set::Among(projects) | Set::Except(projects) => projects,
        };
        let is_short = match set {
            Set::Among(_) => !has_none,
            Set::Except(_) => has_none && !by_project,
        };
        let there_are: BTreeSet<String> = if is_short {
            named.iter().filter(|project| !project.is_empty()).cloned().collect()
        } else {
            let mut there_are = every_project(snapshot, &plan.organization).await?;
            there_are.extend(deltas.iter().filter(|of| !of.project_id.is_empty()).map(|of| of.project_id.clone()));
            there_are
        };
        let mut projects = Vec::new();
        for project in there_are {
            let is_meant = set.contains(project.as_str());
            if by_project {
                if is_meant {
                    projects.push((project.clone(), project.clone(), 1));
                }
                if has_none {
                    projects.push((project, String::new(), -1));
                }
            } else if has_none && !is_meant {
                projects.push((project, String::new(), -1));
            } else if !has_none && is_meant {
                projects.push((project, String::new(), 1));
            }
        }
        Ok(Whose { all: has_none, projects, deltas })
    }

    /// The counts in buckets of a level, for the kinds that are meant.
    pub(super) async fn count(
        &self,
        snapshot: &mut impl Snapshot,
        plan: &Plan,
        level: u32,
        buckets: &[Range<i64>],
    ) -> Result<Vec<Tally>, StoreError> {
        let mut counted = Vec::new();
        if buckets.is_empty() {
            return Ok(counted);
        }
        const NUMBERS: &str = "CAST(pending AS bigint), CAST(running AS bigint), CAST(completed AS bigint), \
                               CAST(failed AS bigint)";
        const COLUMNS: &[Column] =
            &[Column::Int, Column::Text, Column::Text, Column::Int, Column::Int, Column::Int, Column::Int];
        let mut read = |row: Vec<super::Cell>, reported: &dyn Fn(&str) -> Vec<(String, i64)>| {
            let mut cells = Cells::of(row);
            let (bucket, kind, project) = (cells.int()?, cells.text()?, cells.text()?);
            let n: ByStatus = [cells.int()?, cells.int()?, cells.int()?, cells.int()?];
            if plan.kinds.contains(kind.as_str()) {
                counted.extend(reported(&project).into_iter().map(|(project_id, sign)| Tally {
                    bucket,
                    kind: kind.clone(),
                    project_id,
                    n: n.map(|n| n * sign),
                }));
            }
            Ok::<_, StoreError>(())
        };
        if self.all {
            let mut sql = Sql::new(snapshot.dialect(), &plan.organization);
            let within = sql.within_any("bucket", buckets);
            sql.text = format!(
                "SELECT bucket, kind, '' AS project_id, {NUMBERS} FROM counters \
                 WHERE organization_id = {} AND level = {level} AND {within}",
                sql.organization()
            );
            for row in snapshot.rows(sql, COLUMNS).await? {
                read(row, &|_| vec![(String::new(), 1)])?;
            }
        }
        let mut names: Vec<&String> = self.projects.iter().map(|(project, ..)| project).collect();
        names.dedup();
        for names in names.chunks(PROJECTS) {
            let mut sql = Sql::new(snapshot.dialect(), &plan.organization);
            let names = sql.texts(names.iter().copied());
            let within = sql.within_any("bucket", buckets);
            sql.text = format!(
                "SELECT bucket, kind, project_id, {NUMBERS} FROM project_counters \
                 WHERE organization_id = {} AND project_id IN ({names}) AND level = {level} AND {within}",
                sql.organization()
            );
            for row in snapshot.rows(sql, COLUMNS).await? {
                read(row, &|project| self.reported(project))?;
            }
        }
        for delta in &self.deltas {
            let bucket = delta.bucket >> (level - FINEST);
            if !buckets.iter().any(|of| of.contains(&bucket)) || !plan.kinds.contains(delta.kind.as_str()) {
                continue;
            }
            let mut reported = self.reported(&delta.project_id);
            reported.extend(self.all.then(|| (String::new(), 1)));
            counted.extend(reported.into_iter().map(|(project_id, sign)| Tally {
                bucket,
                kind: delta.kind.clone(),
                project_id,
                n: delta.n.map(|n| n * sign),
            }));
        }
        Ok(counted)
    }

    /// Under which project the counters of a project are reported, and with which sign.
    fn reported(&self, project: &str) -> Vec<(String, i64)> {
        // The projects are in order.
        let first = self.projects.partition_point(|(of, ..)| of.as_str() < project);
        let same = self.projects[first..].iter().take_while(|(of, ..)| of == project);
        same.map(|(_, reported, sign)| (reported.clone(), *sign)).collect()
    }
}

/// Every project that has counters: one seek each along their primary key.
async fn every_project(snapshot: &mut impl Snapshot, organization: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut sql = Sql::new(snapshot.dialect(), organization);
    let of = sql.organization();
    sql.text = format!(
        "WITH RECURSIVE project (id) AS (
             SELECT min(project_id) FROM project_counters WHERE organization_id = {of}
             UNION ALL
             SELECT (SELECT min(c.project_id) FROM project_counters c
                 WHERE c.organization_id = {of} AND c.project_id > project.id)
             FROM project WHERE project.id IS NOT NULL
         )
         SELECT id FROM project WHERE id IS NOT NULL"
    );
    let rows = snapshot.rows(sql, &[Column::Text]).await?;
    rows.into_iter().map(|row| Cells::of(row).text()).collect()
}
