"""One attempt of an operation, as its handler and its worker see it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from . import wire

#: The most bytes of a progress; longer ones are cut.
_MAX_PROGRESS_BYTES = 1024


class Cancelled(Exception):
    """The result of the attempt is no longer wanted: let it pass through the handler."""


class Failure(Exception):
    """The attempt has not done its work. Every other exception is a failure too, one that may pass."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """
        Args:
            message: for people; it becomes the operation's `error_message`.
            retryable: whether another attempt may do better; bad input would only fail again.
        """
        super().__init__(message)
        self.retryable = retryable


class Attempt:
    """One attempt of an operation."""

    def __init__(self, claimed: wire.ClaimedOperation, lease_seconds: float, changed: Callable[[], None]) -> None:
        #: The operation, running.
        self.operation = claimed.operation
        #: What the work needs to know, as JSON's values; `None` when there is nothing.
        self.input: Any = claimed.input
        #: Which attempt this is; 1 for the first.
        self.number = claimed.attempt
        #: The attempt as a span of the trace that its operation belongs to, a `traceparent` of W3C Trace Context;
        #: `None` when it belongs to none. Where OpenTelemetry's API is installed, the handler's own spans are below it.
        self.traceparent: str | None = claimed.traceparent
        self._cancelled = threading.Event()
        self._progress: str | None = None
        self._lock = threading.Lock()
        self._changed = changed
        # What the worker knows of it.
        self._lease_token = claimed.lease_token
        self._lease_seconds = lease_seconds
        # The answer was a moment under way: so much later than the server this worker thinks the lease to end.
        self._kept_at = time.monotonic()
        self._beat_at = self._kept_at + lease_seconds / 3
        self._is_lost = False
        self._stop = asyncio.Event()
        self._stop_reason = ""
        if claimed.cancel_requested:
            self._end("cancelled")

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: somebody asked to stop the operation, its time is over, its lease was
        lost, or the worker is being stopped. A handler that is no coroutine looks at this from time to time, and ends;
        in one that is a coroutine, `asyncio.CancelledError` is raised."""
        return self._cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` when the result is no longer wanted."""
        if self._cancelled.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Waits, in a handler that is no coroutine; raises `Cancelled` as soon as the result is no longer wanted."""
        if self._cancelled.wait(seconds):
            raise Cancelled

    def report(self, text: str) -> None:
        """Says how far it is, for people: at most 1 KiB, the rest is cut. It goes with the next heartbeat, which comes
        within a second; of several, the last. May be called from any thread."""
        with self._lock:
            self._progress = text.encode()[:_MAX_PROGRESS_BYTES].decode("utf-8", "ignore")
        self._changed()

    # For the worker.

    def _end(self, reason: str) -> None:
        """The first reason counts."""
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()

    def _lose(self) -> None:
        self._is_lost = True
        self._end("lost")

    def _heartbeat(self) -> wire.HeartbeatRow:
        row: wire.HeartbeatRow = {"id": self.operation.id, "lease_token": self._lease_token}
        with self._lock:
            progress, self._progress = self._progress, None
        if progress:
            row["progress"] = progress
        return row

    def _put_back(self, row: wire.HeartbeatRow) -> None:
        """Takes back a progress that could not be sent, unless there is a newer one."""
        with self._lock:
            self._progress = self._progress or row.get("progress")

    @property
    def _has_progress(self) -> bool:
        return self._progress is not None


def output_text(value: Any) -> str:
    """What a handler answered as the output of an operation: text as it is, nothing as nothing, the rest as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
