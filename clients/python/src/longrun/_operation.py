"""Methods of an operation, in addition to its fields."""

from __future__ import annotations

from .errors import OperationFailed

#: The prefix of every status name in the wire format.
STATUS_PREFIX = "ASYNC_OPERATION_STATUS_"


def status_name(name: str) -> str:
    """The wire name of a status: `FAILED` and `ASYNC_OPERATION_STATUS_FAILED` are the same."""
    return name if not name or name.startswith(STATUS_PREFIX) else STATUS_PREFIX + name


class OperationMethods:
    """Methods in addition to the fields of an operation."""

    __slots__ = ()

    @property
    def state(self) -> str:
        """The short name of the status: `PENDING`, `RUNNING`, `COMPLETED` or `FAILED`."""
        status: str = self.status  # type: ignore[attr-defined]
        return status.removeprefix(STATUS_PREFIX)

    @property
    def has_ended(self) -> bool:
        """Whether it is COMPLETED or FAILED."""
        return self.state in ("COMPLETED", "FAILED")

    def result(self) -> str:
        """Its output.

        Raises:
            OperationFailed: it has failed; the message says why.
            ValueError: it has not ended.
        """
        if self.state == "FAILED":
            raise OperationFailed(self)
        if self.state != "COMPLETED":
            raise ValueError(f"the operation is {self.state}; wait for its end first")
        output: str = self.output  # type: ignore[attr-defined]
        return output
