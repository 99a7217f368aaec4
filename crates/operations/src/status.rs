//! The four states of an operation and their wire names.

use std::fmt;

/// The status of an operation. There are no others: a cancelled or expired operation is [`Status::Failed`].
///
/// The numbers are those of the enum `AsyncOperationStatus` of the Chainloop Platform API, and stores use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    /// The operation waits to be claimed.
    Pending = 1,
    /// An attempt is running.
    Running = 2,
    /// The operation ended with an output.
    Completed = 3,
    /// The operation ended with an error message.
    Failed = 4,
}

impl Status {
    /// Every status, in the order of their numbers.
    pub const ALL: [Status; 4] = [Status::Pending, Status::Running, Status::Completed, Status::Failed];

    /// The name that stands for "any status" in a filter; number 0.
    pub const UNSPECIFIED_NAME: &'static str = "ASYNC_OPERATION_STATUS_UNSPECIFIED";

    /// The name that clients see.
    pub const fn wire_name(self) -> &'static str {
        match self {
            Status::Pending => "ASYNC_OPERATION_STATUS_PENDING",
            Status::Running => "ASYNC_OPERATION_STATUS_RUNNING",
            Status::Completed => "ASYNC_OPERATION_STATUS_COMPLETED",
            Status::Failed => "ASYNC_OPERATION_STATUS_FAILED",
        }
    }

    /// The number that clients and stores use.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status with this number, if there is one (there is none for 0, unspecified).
    pub fn from_number(number: i64) -> Option<Status> {
        Status::ALL.into_iter().find(|s| i64::from(s.number()) == number)
    }

    /// The status with this wire name, if there is one. Case matters, as in proto3 JSON.
    pub fn from_wire_name(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|s| s.wire_name() == name)
    }

    /// Whether only an explicit retry can leave this status.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Status::Completed | Status::Failed)
    }
}

impl fmt::Display for Status {
    /// The short name, for people: `PENDING`.
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
