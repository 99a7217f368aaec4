//! What each method requires of its caller: a caller that may not call it is refused before its message is read.

use store::Scope;

use crate::error::ApiError;
use crate::http::Caller;

/// The methods that need no token.
const OPEN: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// What a method requires of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A scope of the token. More may be needed; the call checks that.
    Of(Scope),
    /// The right to work as a worker, for one organization or for several.
    Work,
    /// The call itself checks: it records refused callers, or has something else to report first, as over HTTP.
    Itself,
}

/// Refuses a caller that may not call a method, whatever the message says. Unknown methods are refused elsewhere.
pub(super) fn check(path: &str, caller: &Caller) -> Result<(), ApiError> {
    match need(path) {
        Some(Need::Of(scope)) => caller.require(scope),
        Some(Need::Work) => caller.require_work(),
        Some(Need::Itself) | None => Ok(()),
    }
}

/// Whether there is a method with this path.
pub(crate) fn is_method(path: &str) -> bool {
    OPEN.contains(&path) || need(path).is_some()
}

/// What the method with this path needs, if there is one.
fn need(path: &str) -> Option<Need> {
    use Need::{Itself, Of, Work};
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = service.strip_prefix("longrun.v1.").unwrap_or(service);
    Some(match (service, method) {
        ("AsyncOperationsService", "GetOperation" | "WaitOperation" | "ListOperationEvents") => Itself,
        ("AsyncOperationsService", "ListOperations" | "SearchOperations" | "CountOperations" | "WatchOperations") => {
            Of(Scope::OperationsRead)
        }
        (
            "AsyncOperationsService",
            "CreateOperation"
            | "BatchCreateOperations"
            | "BulkOperations"
            | "CancelOperation"
            | "RetryOperation"
            | "DeleteOperation",
        ) => Of(Scope::OperationsWrite),
        ("google.longrunning.Operations", "ListOperations" | "GetOperation" | "WaitOperation") => {
            Of(Scope::OperationsRead)
        }
        ("google.longrunning.Operations", "CancelOperation" | "DeleteOperation") => Of(Scope::OperationsWrite),
        ("WorkerService", "ClaimOperations" | "HeartbeatOperations" | "SettleOperations") => Work,
        ("WorkersService", "ListWorkers") => Of(Scope::OperationsRead),
        ("StatsService", "GetStats") => Of(Scope::OperationsRead),
        ("ViewsService", "CreateView" | "ListViews" | "GetView" | "UpdateView" | "DeleteView") => {
            Of(Scope::OperationsRead)
        }
        ("SchedulesService", "ListSchedules" | "GetSchedule") => Of(Scope::OperationsRead),
        (
            "SchedulesService",
            "CreateSchedule" | "UpdateSchedule" | "DeleteSchedule" | "PauseSchedule" | "ResumeSchedule"
            | "TriggerSchedule",
        ) => Of(Scope::OperationsWrite),
        ("EvidenceService", "GetEvidence" | "ListEvidence") => Of(Scope::EvidenceRead),
        ("EvidenceService", "PutEvidence" | "DeleteEvidence") => Of(Scope::EvidenceWrite),
        ("EvidenceService", "ReevaluateEvidence") => Of(Scope::OperationsWrite),
        ("AgentsService", "EvaluateEvidence") => Of(Scope::OperationsWrite),
        ("AgentsService", "GetAttestation") => Of(Scope::OperationsRead),
        ("WaiversService", "CreateWaiver" | "DeleteWaiver") => Of(Scope::Admin),
        ("WaiversService", "ListWaivers") => Of(Scope::EvidenceRead),
        ("TokensService", "CreateToken" | "ListTokens" | "GetToken" | "RevokeToken" | "RotateToken") => Itself,
        (
            "OrganizationsService",
            "CreateOrganization"
            | "ListOrganizations"
            | "GetOrganization"
            | "PauseOrganization"
            | "ResumeOrganization"
            | "SetOrganizationLimits"
            | "DeleteOrganization",
        ) => Itself,
        ("KindsService", "PauseKind" | "ResumeKind") => Itself,
        ("SessionsService", "ListSessions" | "RevokeSession") => Itself,
        ("AuditService", "ListAudit") => Itself,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::bounds::tests::methods;

    #[test]
    fn what_every_method_needs_is_known() {
        let methods = methods();
        assert!(methods.len() > 50, "{}", methods.len());
        for method in methods {
            assert!(need(&method.path).is_some(), "{} is not among the needs", method.path);
        }
        assert_eq!(need("/longrun.v1.AsyncOperationsService/NoSuchMethod"), None);
        let batch = need("/longrun.v1.AsyncOperationsService/BatchCreateOperations");
        assert_eq!(batch, Some(Need::Of(Scope::OperationsWrite)));
    }
}
