//! The rows of `bench pages`, the same in every run, and the filters that ask for them.

use operations::{Access, Filter, NewOperation, PageRequest, Resource, Search, Status};
use store::{GroupBy, SearchOrder, SearchRequest, SearchStart, Store};

use super::plain::Plain;

/// The organization that the rows belong to.
pub const ORGANIZATION: &str = "bench";
/// The kind of nine in ten operations.
pub const DENSE_KIND: &str = kinds::evaluation::KIND;
/// The kind of one in ten.
pub const COMMON_KIND: &str = "export";
/// The kind of one in a thousand.
pub const SPARSE_KIND: &str = "provision";
/// The number of projects that most of the operations belong to.
pub const PROJECTS: u64 = 50;
/// Operations of the one resource that has many.
const HOT_RESOURCE: u64 = 15_000;
/// The id of that resource; the others are `cold-1`, `cold-2` … with ten operations each.
pub const HOT: &str = "hot";
/// The prefix before the number of a resource that has few operations.
pub const COLD: &str = "cold-";
/// Operations of a resource that has few.
pub const COLD_RESOURCE: u64 = 10;

/// The label that one in a thousand operations has.
pub const LABEL: (&str, &str) = ("team", "payments");

/// The query of a measurement.
#[derive(Debug)]
pub enum Asked {
    /// By the list's own parameters.
    List(Filter),
    /// By a search, with the condition that means the same in the plain table.
    Search(Box<Search>, String),
    /// A count by groups, and the same for the plain table: a condition, and the columns.
    Count(Box<Search>, GroupBy, String, &'static str),
}

impl Asked {
    /// Whether it has pages.
    pub fn has_pages(&self) -> bool {
        !matches!(self, Asked::Count(..))
    }

    /// Reads one page of the store, or counts; returns how many entries or groups there are, and the total.
    pub async fn of_store(
        &self,
        store: &dyn Store,
        access: &Access,
        page: PageRequest,
    ) -> anyhow::Result<(usize, u64)> {
        match self {
            Asked::List(filter) => {
                let listing = std::hint::black_box(store.list(access, filter, page).await?);
                Ok((listing.entries.len(), listing.page.total_count))
            }
            Asked::Search(search, _) => {
                let request = SearchRequest {
                    search: (**search).clone(),
                    order: SearchOrder::Newest,
                    start: SearchStart::Page(page.page),
                    page_size: page.page_size,
                };
                let found = std::hint::black_box(store.search(access, &request).await?);
                anyhow::ensure!(found.total_is_exact, "{search:?} is not counted exactly: {}", found.total);
                Ok((found.found.len(), found.total))
            }
            Asked::Count(search, by, ..) => {
                let counted = std::hint::black_box(store.count_matching(access, search, *by).await?);
                anyhow::ensure!(counted.is_exact, "{search:?} is not counted exactly: {}", counted.total);
                Ok((counted.groups.len(), counted.total))
            }
        }
    }

    /// The same for the plain table.
    pub async fn of_plain(&self, plain: &Plain, access: &Access, page: PageRequest) -> anyhow::Result<(usize, u64)> {
        match self {
            Asked::List(filter) => plain.list(access, filter, "", page).await,
            Asked::Search(_, condition) => plain.list(access, &Filter::default(), condition, page).await,
            Asked::Count(_, _, condition, columns) => plain.count(access, condition, columns).await,
        }
    }
}

/// The filters of the list, each with the caller's access.
pub fn filters(rows: u64) -> Vec<(&'static str, Access, Asked)> {
    let all = || Access::organization(ORGANIZATION);
    let projects = |n: u64| Access::projects(ORGANIZATION, (0..n).map(project));
    let status = |status| Filter { status: Some(status), ..Filter::default() };
    let kind = |kind: &str| Filter { kind: Some(kind.to_owned()), ..Filter::default() };
    let resource = Filter { resource: new_operation(0, rows).resource, ..Filter::default() };
    let failed_kind = Filter { status: Some(Status::Failed), ..kind(DENSE_KIND) };
    let filters = [
        ("none", all(), Filter::default()),
        ("pending", all(), status(Status::Pending)),
        ("running", all(), status(Status::Running)),
        ("completed", all(), status(Status::Completed)),
        ("failed", all(), status(Status::Failed)),
        ("dense kind", all(), kind(DENSE_KIND)),
        ("sparse kind", all(), kind(SPARSE_KIND)),
        ("dense kind, failed", all(), failed_kind.clone()),
        ("one resource", all(), resource),
        ("token of 1 project", projects(1), Filter::default()),
        ("token of 20 projects", projects(20), Filter::default()),
        ("token of 20 projects, kind, failed", projects(20), failed_kind),
    ];
    filters.map(|(name, access, filter)| (name, access, Asked::List(filter))).into()
}

fn project(n: u64) -> String {
    format!("project-{n:02}")
}

/// Operation number `n` of `rows`.
pub fn new_operation(n: u64, rows: u64) -> NewOperation {
    let hash = scatter(n);
    let kind = match hash % 1_000 {
        0 => SPARSE_KIND,
        1..=100 => COMMON_KIND,
        _ => DENSE_KIND,
    };
    let every = (rows / HOT_RESOURCE.min(rows / 10).max(1)).max(1);
    let resource_id = if n.is_multiple_of(every) { HOT.to_owned() } else { format!("{COLD}{}", n / COLD_RESOURCE) };
    let project_id = if hash.is_multiple_of(7) { String::new() } else { project((hash >> 20) % PROJECTS) };
    let (key, value) = LABEL;
    let labels = n.is_multiple_of(1_000).then(|| (key.to_owned(), value.to_owned()));
    NewOperation {
        labels: labels.into_iter().collect(),
        resource: Some(Resource { resource_type: "evidence".to_owned(), resource_id }),
        project_id,
        input: r#"{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#.to_owned(),
        ..NewOperation::of_kind(kind)
    }
}

/// A number that looks random and is the same in every run (the finaliser of SplitMix64).
pub fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
