//! The final state of a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use operations::search::{Search, Set};
use operations::{Access, Filter, OperationId, PageRequest, Status};
use store::{Listing, Position, SearchOrder, SearchRequest, SearchStart, Store, StoreError};

use super::{Record, TICK, Told};

/// The change log of an organization from a position on, the existing operations, and their totals.
pub async fn look(store: Arc<dyn Store>, organization: Arc<str>, start: Position) -> Result<Record, StoreError> {
    let (store, access) = (&*store, Access::organization(&*organization));
    let (mut feed, mut after) = (Vec::new(), start);
    loop {
        let part = store.changes(&organization, after, 100).await?;
        if part.changes.is_empty() && part.held_up.is_none() {
            break;
        }
        feed.extend(part.changes.iter().map(|change| Told { id: change.id, status: change.status, at: change.at }));
        after = part.next;
    }
    let mut operations = Vec::new();
    for page in 0.. {
        let listing = list(store, &access, Filter::default(), page).await?;
        if listing.entries.is_empty() {
            break;
        }
        operations.extend(listing.entries.into_iter().map(|entry| entry.operation));
    }
    let mut totals = [list(store, &access, Filter::default(), 0).await?.page.total_count, 0, 0, 0, 0];
    for status in [Status::Pending, Status::Running, Status::Completed, Status::Failed] {
        let filter = Filter { status: Some(status), ..Filter::default() };
        totals[usize::from(status.number())] = list(store, &access, filter, 0).await?.page.total_count;
    }
    let ids: Vec<_> = operations.iter().map(|operation| operation.id).collect();
    let details = store.details(&access, &ids, 1_000).await?;
    let details = details.into_iter().map(|found| found.expect("it is listed")).collect();
    let mut labelled = BTreeMap::new();
    for n in ["0", "1", "2"] {
        labelled.insert(n.to_owned(), with_label(store, &access, n).await?);
    }
    let schedule = store.schedule(&access, TICK).await?.map(|schedule| (schedule, store.now()));
    Ok(Record { feed, operations, totals, details, labelled, schedule, ..Record::default() })
}

async fn list(store: &dyn Store, access: &Access, filter: Filter, page: u32) -> Result<Listing, StoreError> {
    store.list(access, &filter, PageRequest { page, page_size: 100 }).await
}

async fn with_label(store: &dyn Store, access: &Access, n: &str) -> Result<Vec<OperationId>, StoreError> {
    let labels = [("n".to_owned(), Set::among([n.to_owned()]))].into();
    let search = Search { labels, ..Search::default() };
    let start = SearchStart::Page(0);
    let request = SearchRequest { search, order: SearchOrder::Newest, start, page_size: 1_000 };
    let found = store.search(access, &request).await?.found;
    Ok(found.into_iter().map(|detail| detail.operation.id).collect())
}
