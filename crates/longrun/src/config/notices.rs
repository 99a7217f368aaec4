//! Who is notified when operations have ended: `[notices.NAME]`.

use evidence::Status as Verdict;
use kinds::evaluation::KIND as EVIDENCE_EVALUATION;
use operations::Status;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::Endpoint;
use super::tables::{self, Complaints};

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Who is notified.
    pub endpoint: Endpoint,
    /// Which operations to report.
    pub filter: Filter,
}

/// Which operations a notice is about; an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The kinds of the operations.
    pub kinds: Vec<String>,
    /// How they ended.
    pub statuses: Vec<Ended>,
    /// The verdict of an `evidence_evaluation`.
    pub verdicts: Vec<Verdict>,
    /// The organizations of the operations.
    pub organizations: Vec<String>,
}

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ended {
    /// With an output.
    Completed,
    /// With an error.
    Failed,
}

impl From<Ended> for Status {
    fn from(ended: Ended) -> Status {
        match ended {
            Ended::Completed => Status::Completed,
            Ended::Failed => Status::Failed,
        }
    }
}

impl Notice {
    /// Reads the table `[notices.NAME]`.
    pub fn read(mut table: Table, complaints: &mut Complaints) -> Notice {
        let endpoint = tables::take(&mut table, complaints);
        let filter = tables::take(&mut table, complaints);
        let known = [tables::keys::<Endpoint>(), tables::keys::<Filter>()].concat();
        tables::refuse_rest(&table, &known, complaints);
        Notice { endpoint, filter }
    }

    /// Every key with its value.
    pub fn shown(&self) -> Table {
        let mut shown = tables::shown(&self.endpoint);
        shown.extend(tables::shown(&self.filter));
        shown
    }

    /// Checks that the types cannot express.
    pub fn check(&self) -> Complaints {
        let mut complaints = Complaints::new();
        self.endpoint.check(&mut complaints);
        // Such a subscription would never report anything, and its owner would wait in vain.
        let Filter { kinds, statuses, verdicts, .. } = &self.filter;
        complaints.require(
            verdicts.is_empty() || statuses.is_empty() || statuses.contains(&Ended::Completed),
            "verdicts",
            "never match here: an evaluation that found something is COMPLETED, and statuses leaves that out; leave statuses out",
        );
        complaints.require(
            verdicts.is_empty() || kinds.is_empty() || kinds.iter().any(|kind| kind == EVIDENCE_EVALUATION),
            "verdicts",
            "never match here: only an evidence_evaluation has a verdict, and kinds leaves it out",
        );
        for kind in &self.filter.kinds {
            if let Err(violation) = operations::check_kind("kinds", kind) {
                complaints.invalid_name("kinds", kind, "a kind", &violation);
            }
        }
        for organization in &self.filter.organizations {
            if let Err(violation) = operations::check_name("organizations", organization) {
                complaints.invalid_name("organizations", organization, "an organization", &violation);
            }
        }
        complaints
    }
}
