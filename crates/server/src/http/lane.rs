//! Which capacity a call has.

use super::target::Target;

/// What a call is counted among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// What is worked on, or else refused when there is too much of it.
    Ordinary,
    /// Heartbeats and settlements: beside all others, so that work that was done is not lost when there is much to do.
    Keeping,
    /// What mostly waits for something to happen or for its client: claims, `:wait`, `:watch`, uploads that are streams.
    /// Each has limits of its own.
    Waiting,
}

impl Lane {
    /// That of a call to this path. Templates without parameters are matched as they are written.
    pub fn of(path: &str) -> Lane {
        match path {
            "/v1/operations:heartbeat"
            | "/v1/operations:settle"
            | "/longrun.v1.WorkerService/HeartbeatOperations"
            | "/longrun.v1.WorkerService/SettleOperations" => return Lane::Keeping,
            "/v1/operations:claim"
            | "/v1/operations:watch"
            | "/longrun.v1.AsyncOperationsService/WaitOperation"
            | "/longrun.v1.AsyncOperationsService/WatchOperations"
            | "/longrun.v1.WorkerService/ClaimOperations"
            | "/longrun.v1.EvidenceService/PutEvidence"
            | "/google.longrunning.Operations/WaitOperation" => return Lane::Waiting,
            _ => {}
        }
        // Only what has a colon, or hides one, has a verb: most calls are not looked at further.
        let is_wait =
            path.bytes().any(|byte| matches!(byte, b':' | b'%')) && Target::of(path).verb() == Some(super::wait::VERB);
        if is_wait { Lane::Waiting } else { Lane::Ordinary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_lane_however_it_is_spelt() {
        for (path, lane) in [
            ("/v1/operations", Lane::Ordinary),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac", Lane::Ordinary),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac:cancel", Lane::Ordinary),
            ("/v1/operations:batchCreate", Lane::Ordinary),
            ("/v1/evidence/sha256:00", Lane::Ordinary),
            ("/v1/operations:heartbeat", Lane::Keeping),
            ("/v1/operations:settle", Lane::Keeping),
            ("/v1/operations:claim", Lane::Waiting),
            ("/longrun.v1.WorkerService/SettleOperations", Lane::Keeping),
            ("/google.longrunning.Operations/WaitOperation", Lane::Waiting),
            ("/google.longrunning.Operations/GetOperation", Lane::Ordinary),
            ("/v1/operations:watch", Lane::Waiting),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac:wait", Lane::Waiting),
            ("/v1/operations/01a20e1a-1194-75ec-b562-a042f01e7eac%3Await", Lane::Waiting),
        ] {
            assert_eq!(Lane::of(path), lane, "{path}");
        }
    }
}
