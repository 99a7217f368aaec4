"""The events of a watch."""

from __future__ import annotations

from dataclasses import dataclass

from .wire import Operation


@dataclass(frozen=True)
class WatchEvent:
    """A transition of an operation, or its deletion."""

    #: The position from which to continue after a restart of the program: `watch(last_event_id=...)`.
    id: str
    operation_id: str
    #: The operation as it was right after the transition; `None` if it was deleted.
    operation: Operation | None

    @property
    def is_deletion(self) -> bool:
        """Whether the operation was deleted. Deletions are reported regardless of the filters."""
        return self.operation is None
