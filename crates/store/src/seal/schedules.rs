//! Schedules of a store that seals.

use async_trait::async_trait;
use operations::schedule::NewSchedule;
use operations::{Access, Operation, OperationId};

use super::Sealed;
use crate::{DueSchedules, Fired, Schedule, ScheduleOutcome, Schedules, StoreError};

/// The engines seal the texts of schedules themselves: they create operations from them, each with a key of its own.
#[async_trait]
impl Schedules for Sealed {
    async fn create_schedule(
        &self,
        organization: &str,
        wanted: NewSchedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        self.inner.create_schedule(organization, wanted).await
    }

    async fn schedules(&self, access: &Access, after: &str, limit: u32) -> Result<Vec<Schedule>, StoreError> {
        self.inner.schedules(access, after, limit).await
    }

    async fn schedule(&self, access: &Access, name: &str) -> Result<Option<Schedule>, StoreError> {
        self.inner.schedule(access, name).await
    }

    async fn update_schedule(
        &self,
        access: &Access,
        wanted: NewSchedule,
        read: &Schedule,
    ) -> Result<ScheduleOutcome<Schedule>, StoreError> {
        self.inner.update_schedule(access, wanted, read).await
    }

    async fn delete_schedule(&self, access: &Access, name: &str) -> Result<ScheduleOutcome<()>, StoreError> {
        self.inner.delete_schedule(access, name).await
    }

    async fn trigger(
        &self,
        access: &Access,
        name: &str,
        cancelled: Option<OperationId>,
    ) -> Result<ScheduleOutcome<Operation>, StoreError> {
        self.inner.trigger(access, name, cancelled).await
    }

    async fn due_schedules(&self) -> Result<DueSchedules, StoreError> {
        self.inner.due_schedules().await
    }

    async fn fire(&self, organization: &str, limit: u32, cancelled: Vec<OperationId>) -> Result<Fired, StoreError> {
        self.inner.fire(organization, limit, cancelled).await
    }
}
