//! Operations that are created when others end.

use operations::{NewOperation, Operation};

/// Determines what is to be created when an operation has ended.
///
/// It is called at least once for every end, in whichever process, from the first start of an engine that has one; what
/// it returns for one end is created once. It may be called again for the same end after a crash and by other servers
/// of the store, and should then return the same. It is not called for operations that have been deleted by then.
pub trait FollowUp: Send + Sync + 'static {
    /// The operations to be created, in the same organization, all or none. The implementation has to avoid endless
    /// chains: it is called for the ends of these operations, too.
    fn due(&self, organization: &str, ended: &Operation) -> Vec<NewOperation>;
}
