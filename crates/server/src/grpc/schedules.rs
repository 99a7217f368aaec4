//! `longrun.v1.SchedulesService`.

use operations::NewOperation;
use proto::longrun::v1 as wire;
use proto::longrun::v1::schedules_service_server::SchedulesService;
use store::Schedule;
use tonic::{Request, Response, Status};

use super::{Call, Face, budget, call, convert};
use crate::calls::schedules::{self, CreateSchedule, ListSchedules, UpdateSchedule};
use crate::strict::Read;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SchedulesService for Face {
    async fn create_schedule(
        &self,
        request: Request<wire::CreateScheduleRequest>,
    ) -> Answer<wire::CreateScheduleResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = CreateSchedule {
            name: asked.name,
            cron: asked.cron,
            every: convert::given_duration("every", asked.every, &mut violations),
            time_zone: asked.time_zone,
            operation: asked.operation.as_ref().map(convert::part),
            overlap: asked.overlap,
            catch_up: asked.catch_up,
            jitter: convert::given_duration("jitter", asked.jitter, &mut violations),
            paused: Some(asked.paused),
        };
        let made = schedules::create(&self.0, &caller, Read { value, violations }).await?;
        Ok(Response::new(wire::CreateScheduleResponse { schedule: Some(schedule(&made)) }))
    }

    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Answer<wire::ListSchedulesResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let page_size = convert::count("page_size", asked.page_size, &mut violations);
        let value = ListSchedules { page_size, page_token: asked.page_token };
        let (found, next) = schedules::list(&self.0, &caller, Read { value, violations }).await?;
        let mut schedules: Vec<wire::Schedule> = found.iter().map(schedule).collect();
        let is_cut = budget::shorten(&mut schedules);
        let next = if is_cut { schedules.last().map(|last| last.name.clone()) } else { next };
        Ok(Response::new(wire::ListSchedulesResponse { schedules, next_page_token: next.unwrap_or_default() }))
    }

    async fn get_schedule(&self, request: Request<wire::GetScheduleRequest>) -> Answer<wire::GetScheduleResponse> {
        let (Call { caller, .. }, name) = (call(&request), request.into_inner().name);
        let found = schedules::get(&self.0, &caller, &name).await?;
        Ok(Response::new(wire::GetScheduleResponse { schedule: Some(schedule(&found)) }))
    }

    async fn update_schedule(
        &self,
        request: Request<wire::UpdateScheduleRequest>,
    ) -> Answer<wire::UpdateScheduleResponse> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let mut violations = Vec::new();
        let value = UpdateSchedule {
            cron: asked.cron,
            every: convert::given_duration("every", asked.every, &mut violations),
            time_zone: asked.time_zone,
            operation: asked.operation.as_ref().map(convert::part),
            overlap: asked.overlap,
            catch_up: asked.catch_up,
            jitter: convert::given_duration("jitter", asked.jitter, &mut violations),
            paused: asked.paused,
        };
        let changed = schedules::update(&self.0, &caller, &asked.name, Read { value, violations }).await?;
        Ok(Response::new(wire::UpdateScheduleResponse { schedule: Some(schedule(&changed)) }))
    }

    async fn delete_schedule(
        &self,
        request: Request<wire::DeleteScheduleRequest>,
    ) -> Answer<wire::DeleteScheduleResponse> {
        let (Call { caller, .. }, name) = (call(&request), request.into_inner().name);
        schedules::delete(&self.0, &caller, &name).await?;
        Ok(Response::new(wire::DeleteScheduleResponse {}))
    }

    async fn pause_schedule(
        &self,
        request: Request<wire::PauseScheduleRequest>,
    ) -> Answer<wire::PauseScheduleResponse> {
        let (Call { caller, .. }, name) = (call(&request), request.into_inner().name);
        let paused = schedules::pause(&self.0, &caller, &name, true).await?;
        Ok(Response::new(wire::PauseScheduleResponse { schedule: Some(schedule(&paused)) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<wire::ResumeScheduleRequest>,
    ) -> Answer<wire::ResumeScheduleResponse> {
        let (Call { caller, .. }, name) = (call(&request), request.into_inner().name);
        let resumed = schedules::pause(&self.0, &caller, &name, false).await?;
        Ok(Response::new(wire::ResumeScheduleResponse { schedule: Some(schedule(&resumed)) }))
    }

    async fn trigger_schedule(
        &self,
        request: Request<wire::TriggerScheduleRequest>,
    ) -> Answer<wire::TriggerScheduleResponse> {
        let (Call { caller, .. }, name) = (call(&request), request.into_inner().name);
        let operation = schedules::trigger(&self.0, &caller, &name).await?;
        Ok(Response::new(wire::TriggerScheduleResponse { operation: Some(convert::operation(&operation)) }))
    }
}

fn schedule(schedule: &Schedule) -> wire::Schedule {
    let wanted = &schedule.wanted;
    wire::Schedule {
        name: wanted.name.clone(),
        cron: wanted.cron.clone(),
        every: wanted.every.map(convert::duration),
        time_zone: wanted.time_zone.clone(),
        operation: Some(template(&wanted.operation)),
        overlap: wanted.overlap.name().to_owned(),
        catch_up: wanted.catch_up.name().to_owned(),
        jitter: Some(convert::duration(wanted.jitter)),
        paused: wanted.paused,
        created_at: Some(convert::timestamp(schedule.created_at)),
        updated_at: Some(convert::timestamp(schedule.updated_at)),
        next_times: schedule.next_times().into_iter().map(convert::timestamp).collect(),
        last_time: schedule.last_time.map(convert::timestamp),
        last_operation: schedule.last_operation.map(|id| id.to_string()).unwrap_or_default(),
        last_skipped_time: schedule.passed_over.map(convert::timestamp),
        last_error: schedule.last_error.clone(),
        last_error_time: schedule.last_error_at.map(convert::timestamp),
    }
}

/// What a schedule creates, as it was given.
fn template(new: &NewOperation) -> wire::CreateOperationRequest {
    let (resource_type, resource_id) = match &new.resource {
        Some(resource) => (resource.resource_type.clone(), resource.resource_id.clone()),
        None => Default::default(),
    };
    let concurrency = new.concurrency.as_ref();
    wire::CreateOperationRequest {
        kind: new.kind.clone(),
        resource_type,
        resource_id,
        project_id: new.project_id.clone(),
        project_version_id: new.project_version_id.clone(),
        input: new.input.clone(),
        priority: new.priority.into(),
        timeout: new.timeout.map(convert::duration),
        max_attempts: i32::try_from(new.max_attempts).unwrap_or(i32::MAX),
        retain_for: new.retain_for.map(convert::duration),
        labels: new.labels.clone().into_iter().collect(),
        concurrency_key: concurrency.map(|concurrency| concurrency.key.clone()).unwrap_or_default(),
        concurrency_limit: concurrency.map_or(0, |concurrency| i32::try_from(concurrency.limit).unwrap_or(i32::MAX)),
        ..Default::default()
    }
}
