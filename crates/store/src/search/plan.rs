//! What a search means for a caller.

use std::collections::{BTreeMap, BTreeSet};

use operations::search::Set;
use operations::{Access, NOTICE_KIND, Projects, Search, Status};

use super::sql::{By, Driver, statuses};
use crate::plan::Table;

/// The most kinds or projects that are read along an index range each; more are picked out of a range of all.
const RANGES: usize = 8;
/// The most resources that one statement searches for.
const RESOURCES: usize = 32;

/// A search as a caller may make it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) organization: String,
    /// The conditions besides those on status, kind and project.
    pub(super) search: Search,
    pub(super) statuses: Vec<Status>,
    /// Kinds that are meant, including what the filter leaves unsaid.
    pub(super) kinds: Set<String>,
    /// Projects that are meant and may be seen.
    pub(super) projects: Set<String>,
    /// How rows are read in the order of numbers.
    pub(super) by: Vec<By>,
    /// Whether the index ranges hold what the filter means and nothing else, apart from times and fields that are
    /// checked by row.
    pub(super) is_exact: bool,
}

impl Plan {
    /// `None` when nothing can match.
    pub(super) fn of(access: &Access, search: &Search) -> Option<Plan> {
        let kinds = match &search.kind {
            Set::Among(kinds) => Set::Among(kinds.clone()),
            Set::Except(kinds) => {
                Set::Except(kinds.iter().cloned().chain([NOTICE_KIND.to_owned()]).collect::<BTreeSet<_>>())
            }
        };
        let projects = match &access.projects {
            Projects::All => search.project_id.clone(),
            Projects::Only(projects) => {
                let may_be_seen = projects.iter().filter(|project| !project.is_empty()).cloned();
                search.project_id.clone().and(Set::among(may_be_seen))
            }
        };
        let mut plan = Plan {
            organization: access.organization.clone(),
            search: search.clone(),
            statuses: statuses(&search.status),
            kinds,
            projects,
            by: vec![By::Number],
            is_exact: true,
        };
        plan.choose(None);
        let is_nothing = plan.statuses.is_empty() || plan.kinds.is_none() || plan.projects.is_none();
        (!is_nothing).then_some(plan)
    }

    /// Whether rows must be checked for something that neither counters nor times of buckets show.
    pub(super) fn is_by_row(&self) -> bool {
        self.search.looked_at_by_row().is_some()
    }

    /// Whether operations with one label are requested, without any other condition.
    pub(super) fn is_of_one_label(&self) -> bool {
        let rest = Search { labels: BTreeMap::new(), ..self.search.clone() };
        self.search.labels.len() == 1 && rest == Search::default() && self.projects.is_any()
    }

    /// Whether an index range each is read for the existing kinds, which have to be passed to `choose` then.
    pub(super) fn asks_for_kinds(&self) -> bool {
        matches!(&self.kinds, Set::Except(kinds) if kinds.len() > 1)
    }

    /// Chooses index ranges; `there_are` are the kinds that have any operation, if they are known.
    pub(super) fn choose(&mut self, there_are: Option<&BTreeSet<String>>) {
        if let (Set::Except(_), Some(there_are)) = (&self.kinds, there_are) {
            let kinds: BTreeSet<String> = there_are.iter().filter(|kind| self.kinds.contains(*kind)).cloned().collect();
            // An empty set matches nothing, even later: the snapshot has no operation of these kinds.
            if kinds.len() <= RANGES {
                self.kinds = Set::Among(kinds);
            }
        }
        let leaves_out_notices_only = matches!(&self.kinds, Set::Except(kinds) if kinds.len() == 1);
        (self.by, self.is_exact) = match (&self.projects, &self.kinds) {
            (Set::Among(projects), _) if projects.len() <= RANGES && !projects.contains("") => {
                (projects.iter().cloned().map(By::Project).collect(), leaves_out_notices_only)
            }
            (projects, Set::Among(kinds)) if kinds.len() <= RANGES => {
                (kinds.iter().cloned().map(By::Kind).collect(), projects.is_any())
            }
            (projects, _) => (vec![By::Number], projects.is_any() && leaves_out_notices_only),
        };
    }

    /// The tables in which there may be something; some fields that are checked by row are in only one of them.
    pub(super) fn tables(&self, is_checked: bool) -> Vec<Table> {
        let has = |status| self.statuses.contains(&status);
        let search = &self.search;
        let has_ended =
            is_checked && !(search.finished_at.is_any() && search.error_message.is_empty() && search.output.is_empty());
        let has_failed = is_checked && !search.error_message.is_empty();
        let mut tables = Vec::new();
        if !has_ended {
            match (has(Status::Pending), has(Status::Running)) {
                (true, true) => tables.push(Table::Active(None)),
                (true, false) => tables.push(Table::Active(Some(Status::Pending))),
                (false, true) => tables.push(Table::Leased),
                (false, false) => {}
            }
        }
        if has(Status::Completed) && !has_failed {
            tables.push(Table::Settled(Some(Status::Completed)));
        }
        if has(Status::Failed) {
            tables.push(Table::Settled(Some(Status::Failed)));
        }
        tables
    }

    /// The indexes over fields that few operations have, each in as many parts as statements take. Indexes of which few
    /// operations share a value come first.
    pub(super) fn drivers(&self) -> Vec<Vec<Driver>> {
        let search = &self.search;
        let mut drivers = Vec::new();
        if let Set::Among(ids) = &search.id {
            return vec![vec![Driver::Ids(ids.iter().copied().collect())]];
        }
        if let Set::Among(keys) = &search.unique_key {
            return vec![vec![Driver::Details("unique_key", keys.iter().cloned().collect())]];
        }
        if let (Set::Among(types), Set::Among(ids)) = (&search.resource_type, &search.resource_id) {
            let pairs: Vec<(String, String)> =
                types.iter().flat_map(|of| ids.iter().map(move |id| (of.clone(), id.clone()))).collect();
            drivers.push(pairs.chunks(RESOURCES).map(|pairs| Driver::Resources(pairs.to_vec())).collect());
        }
        if let Set::Among(names) = &search.schedule {
            drivers.push(vec![Driver::Details("schedule", names.iter().cloned().collect())]);
        }
        for (key, values) in &search.labels {
            if let Set::Among(values) = values {
                drivers.push(vec![Driver::Labels(key.clone(), values.iter().cloned().collect())]);
            }
        }
        drivers
    }
}
