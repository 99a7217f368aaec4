"""One attempt of an operation, as its handler and its worker see it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from . import wire
from ._text import cut, well_formed

#: Maximum size of a progress message in bytes; longer ones are cut.
_MAX_PROGRESS_BYTES = 1024


class Cancelled(Exception):
    """The result of the attempt is no longer wanted: let it propagate through the handler."""


class Failure(Exception):
    """The attempt failed. Every other exception is a failure too, one that can be retried."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """
        Args:
            message: a message for people; it becomes the operation's `error_message`.
            retryable: whether another attempt may succeed; invalid input would only fail again.
        """
        super().__init__(message)
        self.retryable = retryable


class Attempt:
    """One attempt of an operation."""

    def __init__(self, claimed: wire.ClaimedOperation, lease_seconds: float, changed: Callable[[], None]) -> None:
        #: The operation, now running.
        self.operation = claimed.operation
        #: The organization of the operation, for workers that work for several.
        self.organization = claimed.organization
        #: The input as a JSON value; `None` if there is none.
        self.input: Any = claimed.input
        #: The number of the attempt; 1 for the first.
        self.number = claimed.attempt
        #: The attempt as a span of the trace to which its operation belongs, a `traceparent` of W3C Trace Context;
        #: `None` if it belongs to none. With OpenTelemetry's API installed, the handler's own spans are children of it.
        self.traceparent: str | None = claimed.traceparent
        self._cancelled = threading.Event()
        self._progress: str | None = None
        self._lock = threading.Lock()
        self._changed = changed
        # State for the worker.
        self._lease_token = claimed.lease_token
        self._lease_seconds = lease_seconds
        # The answer took a moment to arrive: this worker expects the lease to expire that much later than the server.
        self._kept_at = time.monotonic()
        self._beat_at = self._kept_at + lease_seconds / 3
        self._is_lost = False
        #: Whether there is an outcome, which is sent until the server has answered: a lease that this worker believes
        #: to be lost may still be held.
        self._has_outcome = False
        self._stop = asyncio.Event()
        self._stop_reason = ""
        if claimed.cancel_requested:
            self._end("cancelled")

    @property
    def cancelled(self) -> bool:
        """Whether the result is no longer wanted: a cancellation was requested, the time limit expired, the lease was
        lost, or the worker is being stopped. A handler that is not a coroutine should check this regularly, and end;
        in a coroutine, `asyncio.CancelledError` is raised."""
        return self._cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises `Cancelled` if the result is no longer wanted."""
        if self._cancelled.is_set():
            raise Cancelled

    def sleep(self, seconds: float) -> None:
        """Waits, in a handler that is not a coroutine; raises `Cancelled` once the result is no longer wanted."""
        if self._cancelled.wait(seconds):
            raise Cancelled

    def report(self, text: str) -> None:
        """Reports the progress, for people: at most 1 KiB, the rest is cut. The last report is sent with the next
        heartbeat, within a second. May be called from any thread."""
        with self._lock:
            self._progress = cut(well_formed(text), _MAX_PROGRESS_BYTES)
        self._changed()

    # For the worker.

    def _end(self, reason: str) -> None:
        """The first reason counts."""
        if not self._stop.is_set():
            self._stop_reason = reason
            self._stop.set()

    def _lose(self) -> bool:
        """Whether it was not lost before. If there is an outcome, the server decides whether it counts."""
        if self._is_lost or self._has_outcome:
            return False
        self._is_lost = True
        self._end("lost")
        return True

    @property
    def _lease(self) -> wire.HeartbeatRow:
        """The members that identify the attempt in a row of a heartbeat or settlement."""
        return {"id": self.operation.id, "lease_token": self._lease_token, "organization": self.organization}

    def _heartbeat(self, *, has_progress: bool) -> wire.HeartbeatRow:
        row = self._lease
        if not has_progress:
            return row
        with self._lock:
            progress, self._progress = self._progress, None
        if progress:
            row["progress"] = progress
        return row

    def _put_back(self, row: wire.HeartbeatRow) -> None:
        """Puts back a progress message that could not be sent, unless there is a newer one."""
        with self._lock:
            self._progress = self._progress or row.get("progress")

    @property
    def _has_progress(self) -> bool:
        return self._progress is not None


def output_text(value: Any) -> str:
    """The result of a handler as the output of an operation: text, `None` as empty, the rest as JSON.

    Raises:
        TypeError, ValueError: it is neither. NaN and the infinities are no JSON, although Python would write them.
    """
    if value is None:
        return ""
    return well_formed(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False))
