//! The searches of `bench pages --search`: those answered from counters, those answered from an index, and those that
//! read rows one by one.

use operations::{Access, Filter, PageRequest, Search, Status, Timestamp};
use store::{GroupBy, Store};

use super::data::{Asked, COMMON_KIND, DENSE_KIND, HOT, LABEL, ORGANIZATION, SPARSE_KIND};

/// Maximum number of operations in the time range in which texts are searched: fewer than a call reads.
const LOOKED_AT: u64 = 50_000;

/// The searches, each with the condition that means the same in the plain table.
///
/// # Errors
/// Those of the store, which is asked for the creation times of its operations.
pub async fn searches(store: &dyn Store, rows: u64) -> anyhow::Result<Vec<(&'static str, Access, Asked)>> {
    let oldest = created_at(store, rows - rows / 4).await?;
    let newest = created_at(store, rows / 4).await?;
    let recent = created_at(store, LOOKED_AT.min(rows / 20)).await?;
    let (pending, running, failed) = (Status::Pending, Status::Running, Status::Failed);
    let statuses = format!("status IN ({}, {})", pending.number(), running.number());
    let failed = format!("status = {}", failed.number());
    let between = (
        format!("created_at >= \"{oldest}\" AND created_at < \"{newest}\""),
        format!("created_at >= {} AND created_at < {}", oldest.as_millis(), newest.as_millis()),
    );
    let (key, value) = LABEL;
    let text = "the scanner found no image";
    let searches = [
        ("pending or running", "status = (PENDING OR RUNNING)".to_owned(), statuses),
        ("not the dense kind", format!("kind != {DENSE_KIND}"), format!("kind <> '{DENSE_KIND}'")),
        (
            "two kinds, failed",
            format!("kind = ({COMMON_KIND} OR {SPARSE_KIND}) AND status = FAILED"),
            format!("kind IN ('{COMMON_KIND}', '{SPARSE_KIND}') AND {failed}"),
        ),
        (
            "three projects",
            "project_id = (\"project-01\" OR \"project-02\" OR \"project-03\")".to_owned(),
            "project_id IN ('project-01', 'project-02', 'project-03')".to_owned(),
        ),
        ("half of the time", between.0.clone(), between.1.clone()),
        (
            "half of the time, failed",
            format!("status = FAILED AND {}", between.0),
            format!("{failed} AND {}", between.1),
        ),
        (
            "one resource, failed",
            format!("resource_type = evidence AND resource_id = {HOT} AND status = FAILED"),
            format!("resource_type = 'evidence' AND resource_id = '{HOT}' AND {failed}"),
        ),
        ("a label", format!("labels.{key} = {value}"), format!("{key} = '{value}'")),
        (
            "a label, failed",
            format!("labels.{key} = {value} AND status = FAILED"),
            format!("{key} = '{value}' AND {failed}"),
        ),
        (
            "a text of the newest",
            format!("error_message : \"{text}\" AND created_at >= \"{recent}\""),
            format!("error_message LIKE '%{text}%' AND created_at >= {}", recent.as_millis()),
        ),
    ];
    let parsed = searches.into_iter().map(|(name, filter, condition)| {
        let search = Search::parse(&filter, store.now())?;
        Ok((name, Access::organization(ORGANIZATION), Asked::Search(Box::new(search), condition)))
    });
    let counts = [
        ("by status and kind", String::new(), String::new(), "status, kind"),
        ("by project, failed", "status = FAILED".to_owned(), failed.clone(), "project_id"),
        ("half of the time, by status", between.0, between.1, "status"),
        ("a label, by status", format!("labels.{key} = {value}"), format!("{key} = '{value}'"), "status"),
    ];
    let counts = counts.into_iter().map(|(name, filter, condition, columns)| {
        let search = Box::new(Search::parse(&filter, store.now())?);
        let has = |column| columns.split(", ").any(|of| of == column);
        let by = GroupBy { status: has("status"), kind: has("kind"), project_id: has("project_id") };
        Ok((name, Access::organization(ORGANIZATION), Asked::Count(search, by, condition, columns)))
    });
    parsed.chain(counts).collect()
}

/// The creation time of the operation before which there are `skipped` newer ones.
async fn created_at(store: &dyn Store, skipped: u64) -> anyhow::Result<Timestamp> {
    let request = PageRequest { page: u32::try_from(skipped)?, page_size: 1 };
    let listing = store.list(&Access::organization(ORGANIZATION), &Filter::default(), request).await?;
    let entry = listing.entries.first().ok_or_else(|| anyhow::anyhow!("there are too few operations"))?;
    Ok(entry.operation.created_at)
}
