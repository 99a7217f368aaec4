//! `longrun.v1.OrganizationsService` and `longrun.v1.KindsService`.

use proto::longrun::v1 as wire;
use proto::longrun::v1::kinds_service_server::KindsService;
use proto::longrun::v1::organizations_service_server::OrganizationsService;
use tonic::{Request, Response, Status};

use super::{Call, Face, call, convert};
use crate::calls::organizations::{
    self, CreateOrganization, DeleteOrganization, ListOrganizations, Listed, SetOrganizationLimits,
};
use crate::calls::page::Paged;
use crate::calls::pause::{self, Organization, Verb};
use crate::strict::Read;

#[tonic::async_trait]
impl OrganizationsService for Face {
    async fn create_organization(
        &self,
        request: Request<wire::CreateOrganizationRequest>,
    ) -> Result<Response<wire::CreateOrganizationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let limits = asked.limits.map(|limits| read(wanted(limits)));
        let value = CreateOrganization { name: asked.name, limits };
        let made = organizations::create(&self.0, &caller, read(value)).await?;
        Ok(Response::new(wire::CreateOrganizationResponse { organization: Some(organization(made)) }))
    }

    async fn list_organizations(
        &self,
        request: Request<wire::ListOrganizationsRequest>,
    ) -> Result<Response<wire::ListOrganizationsResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let page = convert::page(asked.page_size, asked.page_token);
        let asked = Paged { page, asked: read(ListOrganizations {}) };
        let (found, next) = organizations::list(&self.0, &caller, asked).await?;
        let listed = |(one, paused_since): Listed| wire::OrganizationSummary {
            name: one.name,
            created_at: Some(convert::timestamp(one.created_at)),
            pending: one.pending,
            running: one.running,
            paused_since: paused_since.map(convert::timestamp),
            being_deleted: one.is_being_deleted,
        };
        let organizations = found.into_iter().map(listed).collect();
        let next_page_token = next.unwrap_or_default();
        Ok(Response::new(wire::ListOrganizationsResponse { organizations, next_page_token }))
    }

    async fn get_organization(
        &self,
        request: Request<wire::GetOrganizationRequest>,
    ) -> Result<Response<wire::GetOrganizationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let found = pause::organization(&self.0, &caller, &asked.name).await?;
        Ok(Response::new(wire::GetOrganizationResponse { organization: Some(organization(found)) }))
    }

    async fn pause_organization(
        &self,
        request: Request<wire::PauseOrganizationRequest>,
    ) -> Result<Response<wire::PauseOrganizationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let paused = pause::pause_organization(&self.0, &caller, &asked.name, Verb::Pause).await?;
        Ok(Response::new(wire::PauseOrganizationResponse { organization: Some(organization(paused)) }))
    }

    async fn resume_organization(
        &self,
        request: Request<wire::ResumeOrganizationRequest>,
    ) -> Result<Response<wire::ResumeOrganizationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let resumed = pause::pause_organization(&self.0, &caller, &asked.name, Verb::Resume).await?;
        Ok(Response::new(wire::ResumeOrganizationResponse { organization: Some(organization(resumed)) }))
    }

    async fn set_organization_limits(
        &self,
        request: Request<wire::SetOrganizationLimitsRequest>,
    ) -> Result<Response<wire::SetOrganizationLimitsResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let limits = read(wanted(asked.limits.unwrap_or_default()));
        let set = organizations::set_limits(&self.0, &caller, &asked.name, limits).await?;
        Ok(Response::new(wire::SetOrganizationLimitsResponse { organization: Some(organization(set)) }))
    }

    async fn delete_organization(
        &self,
        request: Request<wire::DeleteOrganizationRequest>,
    ) -> Result<Response<wire::DeleteOrganizationResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let value = DeleteOrganization { force: asked.force.to_string() };
        let deletion = organizations::delete(&self.0, &caller, &asked.name, read(value)).await?;
        let (done, removed_rows) = (deletion.done, deletion.removed_rows);
        Ok(Response::new(wire::DeleteOrganizationResponse { done, removed_rows }))
    }
}

#[tonic::async_trait]
impl KindsService for Face {
    async fn pause_kind(
        &self,
        request: Request<wire::PauseKindRequest>,
    ) -> Result<Response<wire::PauseKindResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let paused = pause::pause_kind(&self.0, &caller, &asked.kind, Verb::Pause).await?;
        Ok(Response::new(wire::PauseKindResponse { paused }))
    }

    async fn resume_kind(
        &self,
        request: Request<wire::ResumeKindRequest>,
    ) -> Result<Response<wire::ResumeKindResponse>, Status> {
        let (Call { caller, .. }, asked) = (call(&request), request.into_inner());
        let paused = pause::pause_kind(&self.0, &caller, &asked.kind, Verb::Resume).await?;
        Ok(Response::new(wire::ResumeKindResponse { paused }))
    }
}

/// A request whose message cannot have violations, because of its types.
fn read<T>(value: T) -> Read<T> {
    Read { value, violations: Vec::new() }
}

fn wanted(limits: wire::WantedLimits) -> SetOrganizationLimits {
    let wire::WantedLimits { max_pending, rate, precise_rate, burst, max_input, max_output, weight, max_running } =
        limits;
    let rate = precise_rate.or(rate.map(f64::from));
    let max_running = max_running.into_iter().collect();
    SetOrganizationLimits { max_pending, rate, burst, max_input, max_output, weight, max_running }
}

fn organization(organization: Organization) -> wire::Organization {
    let Organization { name, paused, paused_kinds, limits, max_running } = organization;
    let limits = wire::OrganizationLimits {
        max_pending: limits.max_pending,
        rate: limits.rate.map(|rate| rate.per_second),
        burst: limits.rate.map(|rate| rate.burst),
        max_input: limits.max_input as u64,
        max_output: limits.max_output as u64,
        weight: limits.weight,
        max_running: max_running.into_iter().collect(),
    };
    wire::Organization { name, paused, paused_kinds, limits: Some(limits) }
}
