//! What `longrun doctor` reports about cells: its findings in each, and whether the directory and they agree.

use super::Cells;
use crate::{Finding, Report, Store as _, StoreError};

impl Cells {
    /// [`Store::doctor`](crate::Store::doctor).
    pub(super) async fn examine(&self) -> Result<Report, StoreError> {
        let mut report = Report { organizations: 0, operations: 0, findings: Vec::new() };
        for cell in &self.shared.cells {
            let name = &cell.url.name;
            let store = match cell.store() {
                Ok(store) => store,
                Err(error) => {
                    let detail = error.to_string();
                    report.findings.push(Finding { invariant: "every cell can be examined", detail });
                    continue;
                }
            };
            let of_cell = store.doctor().await?;
            report.organizations += of_cell.organizations;
            report.operations += of_cell.operations;
            let findings = of_cell.findings.into_iter();
            report
                .findings
                .extend(findings.map(|found| Finding { detail: format!("cell {name}: {}", found.detail), ..found }));
            for organization in store.present().await? {
                let placed = self.shared.directory.look_up(&organization).await?;
                if placed.as_ref().is_none_or(|placed| placed.cell != *name) && !cell.lacks(&organization) {
                    let elsewhere = placed.map_or_else(|| "nowhere".to_owned(), |placed| placed.cell);
                    report.findings.push(Finding {
                        invariant: "organizations are in the cells that the directory names",
                        detail: format!("{organization} is in the cell {name}; the directory says {elsewhere}"),
                    });
                }
            }
        }
        Ok(report)
    }
}
