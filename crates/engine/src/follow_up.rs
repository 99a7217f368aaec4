//! Operations that follow from the end of others.

use operations::{NewOperation, Operation};

/// Says what is to be created when an operation has ended.
///
/// It is asked at least once about every end, in whichever process, from the first start of an engine that has one; and
/// what it says about one end is created once. It may be asked again about the same end after a crash and by other
/// servers of the store, and should then say the same. It is not asked about operations that were deleted before.
pub trait FollowUp: Send + Sync + 'static {
    /// The operations to be created, in the same organization, all or none. It has to keep
    /// itself from going round in circles: it is asked about the ends of these operations, too.
    fn due(&self, organization: &str, ended: &Operation) -> Vec<NewOperation>;
}
