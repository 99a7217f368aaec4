//! Which capacity a call uses.

use super::target::Target;

/// The class that a call is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallClass {
    /// Calls that are processed, or refused when there are too many.
    Ordinary,
    /// Heartbeats and settlements: they have capacity of their own, so that finished work is not lost under load.
    Keeping,
    /// Calls that mostly wait for something to happen or for their client: claims, `:wait`, `:watch`, streamed uploads.
    /// Each has limits of its own.
    Waiting,
}

impl CallClass {
    /// The class of a call to this path. Templates without parameters are matched as they are written.
    pub fn of(path: &str) -> CallClass {
        match path {
            "/v1/operations:heartbeat"
            | "/v1/operations:settle"
            | "/longrun.v1.WorkerService/HeartbeatOperations"
            | "/longrun.v1.WorkerService/SettleOperations" => return CallClass::Keeping,
            "/v1/operations:claim"
            | "/v1/operations:watch"
            | "/longrun.v1.AsyncOperationsService/WaitOperation"
            | "/longrun.v1.AsyncOperationsService/WatchOperations"
            | "/longrun.v1.WorkerService/ClaimOperations"
            | "/longrun.v1.EvidenceService/PutEvidence"
            | "/google.longrunning.Operations/WaitOperation" => return CallClass::Waiting,
            _ => {}
        }
        // Only a path that contains a colon, perhaps encoded, has a verb: most calls are not examined further.
        let is_wait =
            path.bytes().any(|byte| matches!(byte, b':' | b'%')) && Target::of(path).verb() == Some(super::wait::VERB);
        if is_wait { CallClass::Waiting } else { CallClass::Ordinary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_class_however_it_is_spelt() {
        for (path, class) in [
            ("/v1/operations", CallClass::Ordinary),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac", CallClass::Ordinary),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac:cancel", CallClass::Ordinary),
            ("/v1/operations:batchCreate", CallClass::Ordinary),
            ("/v1/operations:bulk", CallClass::Ordinary),
            ("/v1/evidence/sha256:00", CallClass::Ordinary),
            ("/v1/operations:heartbeat", CallClass::Keeping),
            ("/v1/operations:settle", CallClass::Keeping),
            ("/v1/operations:claim", CallClass::Waiting),
            ("/longrun.v1.WorkerService/SettleOperations", CallClass::Keeping),
            ("/google.longrunning.Operations/WaitOperation", CallClass::Waiting),
            ("/google.longrunning.Operations/GetOperation", CallClass::Ordinary),
            ("/v1/operations:watch", CallClass::Waiting),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac:wait", CallClass::Waiting),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac%3Await", CallClass::Waiting),
        ] {
            assert_eq!(CallClass::of(path), class, "{path}");
        }
    }
}
