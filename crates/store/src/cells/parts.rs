//! [`Cells`] as the traits that every store has in addition to [`Store`](crate::Store).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use operations::schedule::NewSchedule;
use operations::{Access, Operation, OperationId, Refusal, Search, Timestamp, TraceContext};

use super::routing::cells;
use crate::split::recorded;
use crate::{
    BulkBatch, BulkOperations, BulkProgress, Counted, Details, Digest, DueSchedules, EvidenceFilter, EvidenceKept,
    EvidenceRecord, EvidenceRecords, EvidenceRemoval, EvidenceStanding, EvidenceTotals, Fired, GroupBy, HeldLeases,
    KindStanding, LeaseRef, ListedEvidence, Matching, Measured, NewEvidence, OperationDetail, PolicyDigests,
    PolicyNotes, Position, Postpone, Removing, Reservation, Schedule, ScheduleOutcome, Schedules, SearchOperations,
    SearchPage, SearchRequest, SeenPolicies, Session, Sessions, Standings, Statistics, StatisticsAnswer,
    StatisticsRequest, StoreError, Traced, View, ViewOutcome, ViewReach, Views, Waiver, WaiverChange, WaiverOutcome,
    Waivers, Workers,
};

cells! {
    impl BulkOperations {
        at(organization) => fn begin_bulk(&self, organization: &str, id: OperationId, total: u64) -> Option<BulkProgress>;
        at(organization) => fn bulk_progress(&self, organization: &str, id: OperationId) -> Option<BulkProgress>;
        at(&batch.access.organization) => fn bulk_batch(&self, batch: BulkBatch) -> BulkProgress;
    }
}

cells! {
    impl Details {
        at(&access.organization) => fn details(
            &self, access: &Access, ids: &[OperationId], longest: usize
        ) -> Vec<Option<OperationDetail>>;
    }
}

cells! {
    impl EvidenceRecords {
        new(organization) => fn reserve_evidence(&self, organization: &str, digest: Digest, size: u64) -> Reservation;
        at(organization) => fn end_reservation(&self, organization: &str, digest: Digest) -> ();
        new(organization) => fn put_evidence(&self, organization: &str, evidence: NewEvidence) -> ();
        at(organization) => fn evidence(&self, organization: &str, digest: &Digest) -> Option<EvidenceRecord>;
        at(organization) => fn touch_evidence(&self, organization: &str, digest: Digest, name: &str) -> bool;
        at(organization) => fn list_evidence(
            &self, organization: &str, filter: &EvidenceFilter, after: Option<(Timestamp, String)>, limit: u32
        ) -> Vec<ListedEvidence>;
        at(organization) => fn evidence_totals(&self, organization: &str) -> EvidenceTotals;
        at(organization) => fn evidence_standings(
            &self, organization: &str, after: Option<Digest>, limit: u32
        ) -> Vec<EvidenceStanding>;
        at(organization) => fn begin_removal(
            &self, organization: &str, what: EvidenceRemoval
        ) -> Result<Removing, EvidenceKept>;
        at(organization) => fn end_removal(&self, organization: &str, removing: Removing) -> u64;
    }
}

cells! {
    impl Measured {} {
        fn meters(&self) -> meters::Meters {
            self.shared.settings.meters.clone()
        }

        async fn standings(&self) -> Result<Standings, StoreError> {
            let mut all = Standings::default();
            let (mut kinds, mut lags) = (BTreeMap::<String, KindStanding>::new(), BTreeMap::<String, Duration>::new());
            for (_, of_cell) in self.every(|store| async move { store.standings().await }).await? {
                for kind in of_cell.kinds {
                    let Some(known) = kinds.get_mut(&kind.kind) else {
                        kinds.insert(kind.kind.clone(), kind);
                        continue;
                    };
                    known.pending += kind.pending;
                    known.running += kind.running;
                    known.oldest = [known.oldest, kind.oldest].into_iter().flatten().min();
                }
                for (consumer, lag) in of_cell.lags {
                    let known = lags.entry(consumer).or_default();
                    *known = lag.max(*known);
                }
                all.schedules_due += of_cell.schedules_due;
                all.schedules_overdue = all.schedules_overdue.max(of_cell.schedules_overdue);
            }
            (all.kinds, all.lags) = (kinds.into_values().collect(), lags.into_iter().collect());
            Ok(all)
        }
    }
}

cells! {
    impl PolicyNotes {} {
        async fn seen_policies(&self) -> Result<Vec<SeenPolicies>, StoreError> {
            self.shared.directory.store.seen_policies().await
        }

        async fn note_policies(&self, server: &str, policies: &PolicyDigests) -> Result<(), StoreError> {
            self.shared.directory.store.note_policies(server, policies).await
        }

        async fn forget_policies(&self, server: &str) -> Result<(), StoreError> {
            self.shared.directory.store.forget_policies(server).await
        }
    }
}

cells! {
    impl Postpone {} {
        async fn postpone(&self, leases: Vec<LeaseRef>, delay: Duration) -> Result<Vec<Result<(), Refusal>>, StoreError> {
            let postponed = self.by_organization(leases, |lease| lease, |store, part| async move {
                store.postpone(part, delay).await
            });
            recorded(postponed.await)
        }
    }
}

cells! {
    impl Schedules {
        new(organization) => fn create_schedule(
            &self, organization: &str, wanted: NewSchedule
        ) -> ScheduleOutcome<Schedule>;
        at(&access.organization) => fn schedules(&self, access: &Access, after: &str, limit: u32) -> Vec<Schedule>;
        at(&access.organization) => fn schedule(&self, access: &Access, name: &str) -> Option<Schedule>;
        at(&access.organization) => fn update_schedule(
            &self, access: &Access, wanted: NewSchedule, read: &Schedule
        ) -> ScheduleOutcome<Schedule>;
        at(&access.organization) => fn delete_schedule(&self, access: &Access, name: &str) -> ScheduleOutcome<()>;
        at(&access.organization) => fn trigger(
            &self, access: &Access, name: &str, cancelled: Option<OperationId>
        ) -> ScheduleOutcome<Operation>;
        at(organization) => fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Fired;
    } {
        async fn due_schedules(&self) -> Result<DueSchedules, StoreError> {
            let mut due = DueSchedules::default();
            for (cell, found) in self.every(|store| async move { store.due_schedules().await }).await? {
                let here = self.in_their_cells(vec![(cell, found.organizations)], |name| name).await;
                due.organizations.extend(here);
                due.next = [due.next, found.next].into_iter().flatten().min();
            }
            Ok(due)
        }
    }
}

cells! {
    impl SearchOperations {
        at(&access.organization) => fn search(&self, access: &Access, request: &SearchRequest) -> SearchPage;
        at(&access.organization) => fn count_matching(&self, access: &Access, search: &Search, by: GroupBy) -> Counted;
        at(&access.organization) => fn matching_ids(
            &self, access: &Access, search: &Search, numbers: Range<i64>, limit: u32
        ) -> Matching;
        at(organization) => fn next_number(&self, organization: &str) -> i64;
        sum => fn note_times(&self, limit: u32) -> u64;
    }
}

cells! {
    impl Sessions {
        new(&session.organization) => fn begin_session(&self, session: Session) -> ();
        at(organization) => fn session(&self, organization: &str, id: &str) -> Option<Session>;
        at(organization) => fn sessions(
            &self, organization: &str, after: Option<(Timestamp, String)>, limit: u32
        ) -> Vec<Session>;
        at(organization) => fn revoke_session(&self, organization: &str, id: &str) -> bool;
        sum => fn forget_sessions(&self, limit: u32) -> u64;
    }
}

cells! {
    impl Statistics {
        at(&access.organization) => fn statistics(
            &self, access: &Access, request: &StatisticsRequest, limit: u32
        ) -> StatisticsAnswer;
        sum => fn forget_statistics(&self, limit: u32) -> u64;
    } {
        async fn begin_statistics(&self) -> Result<(), StoreError> {
            self.shared.directory.store.begin_statistics().await?;
            self.every(|store| async move { store.begin_statistics().await }).await?;
            // Cells that are unavailable learn of it once they answer.
            self.shared.settings.requested().has_statistics = true;
            Ok(())
        }

        async fn count_changes(&self, organization: &str, from: Position, limit: u32) -> Result<bool, StoreError> {
            let at = self.at(organization).await?;
            let Some(from) = at.untagged(from) else { return Ok(false) };
            at.checked(at.recorded.count_changes(organization, from, limit).await).await
        }
    }
}

cells! {
    impl Traced {
        at(organization) => fn trace_contexts(
            &self, organization: &str, ids: &[OperationId]
        ) -> HashMap<OperationId, TraceContext>;
    } {
        async fn forget_consumer(&self, consumer: &str) -> Result<(), StoreError> {
            self.shared.settings.requested().consumers.remove(consumer);
            self.shared.directory.store.forget_consumer(consumer).await?;
            self.every(|store| async move { store.forget_consumer(consumer).await }).await?;
            Ok(())
        }
    }
}

cells! {
    impl Views {
        at(&reach.organization) => fn views(&self, reach: &ViewReach) -> Vec<View>;
        at(organization) => fn create_view(&self, organization: &str, view: View) -> ViewOutcome;
        at(&reach.organization) => fn update_view(&self, reach: &ViewReach, view: View) -> ViewOutcome;
        at(&reach.organization) => fn delete_view(&self, reach: &ViewReach, id: &str) -> bool;
    }
}

cells! {
    impl Waivers {
        at(organization) => fn waivers(&self, organization: &str) -> Vec<Waiver>;
        at(organization) => fn create_waiver(&self, organization: &str, waiver: Waiver) -> WaiverOutcome;
        at(organization) => fn delete_waiver(&self, organization: &str, id: &str) -> bool;
        at(&change.organization) => fn note_waiver_change(&self, change: WaiverChange) -> ();
    } {
        async fn waiver_changes(&self, limit: u32) -> Result<Vec<WaiverChange>, StoreError> {
            let found = self.every(|store| async move { store.waiver_changes(limit).await }).await?;
            Ok(self.in_their_cells(found, |change| &change.organization).await)
        }
    }
}

cells! {
    impl Workers {
        at(&access.organization) => fn held_leases(&self, access: &Access) -> HeldLeases;
    }
}
