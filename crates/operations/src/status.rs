//! The four states of an operation and their wire names.

use std::fmt;

/// Where an operation stands. Closed: a cancelled or expired operation is [`Status::Failed`].
///
/// The numbers are those of the enum `AsyncOperationStatus` of the Chainloop Platform API and are what stores keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// Waits to be claimed.
    Pending = 1,
    /// An attempt is under way.
    Running = 2,
    /// Ended with an output.
    Completed = 3,
    /// Ended with an error message.
    Failed = 4,
}

impl Status {
    /// Every status, in the order of their numbers.
    pub const ALL: [Status; 4] = [Status::Pending, Status::Running, Status::Completed, Status::Failed];

    /// The name that stands for "any status" in a filter; number 0.
    pub const UNSPECIFIED_NAME: &'static str = "ASYNC_OPERATION_STATUS_UNSPECIFIED";

    /// The name on the wire.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Status::Pending => "ASYNC_OPERATION_STATUS_PENDING",
            Status::Running => "ASYNC_OPERATION_STATUS_RUNNING",
            Status::Completed => "ASYNC_OPERATION_STATUS_COMPLETED",
            Status::Failed => "ASYNC_OPERATION_STATUS_FAILED",
        }
    }

    /// The number on the wire and in stores.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status with this number, if there is one (0, unspecified, is none).
    pub fn from_number(number: i64) -> Option<Status> {
        Status::ALL.into_iter().find(|s| i64::from(s.number()) == number)
    }

    /// The status with this wire name, if there is one. Case matters, as in proto3 JSON.
    pub fn from_wire_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.wire_name() == name)
    }

    /// Whether nothing but an explicit retry leaves this status.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed)
    }
}

impl fmt::Display for Status {
    /// The short name that people read: `PENDING`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.wire_name()["ASYNC_OPERATION_STATUS_".len()..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_wire_name(status.wire_name()), Some(status));
            assert_eq!(Status::from_number(i64::from(status.number())), Some(status));
        }
        assert_eq!(Status::from_number(0), None);
        assert_eq!(Status::from_number(5), None);
        assert_eq!(Status::from_wire_name("async_operation_status_pending"), None);
        assert_eq!(Status::Failed.to_string(), "FAILED");
    }
}
