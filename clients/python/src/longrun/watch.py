"""What a watch tells."""

from __future__ import annotations

from dataclasses import dataclass

from .wire import Operation


@dataclass(frozen=True)
class WatchEvent:
    """A transition of an operation, or its removal."""

    #: Where to go on from in another life of the program: `watch(last_event_id=...)`.
    id: str
    operation_id: str
    #: The operation as it was right after the transition; `None` when it was removed.
    operation: Operation | None

    @property
    def is_deletion(self) -> bool:
        """Whether the operation was removed. Removals are told whatever is watched."""
        return self.operation is None
