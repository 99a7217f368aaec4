# Written by `make sdks` from _async_watch.py. Do not edit.
"""Watching: a stream of transitions that reconnects when the connection breaks."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import httpx

from . import _calls, wire
from ._calls import Call
from ._wire import Block, EventParser, decode
from .errors import ApiError, LongrunError, TransportError, UnexpectedAnswer, api_error, is_transient
from .watch import WatchEvent

if TYPE_CHECKING:
    from ._sync import Client


class Watch:
    """A stream of transitions; created by `Client.watch`. Cancelling `next` loses nothing."""

    def __init__(self, client: Client, query: dict[str, str], last_event_id: str | None) -> None:
        self._client = client
        self._query = query
        #: The position in the stream, from which the program can continue after a restart.
        self.last_event_id = last_event_id or None
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] | None = None
        self._parser = EventParser()
        self._blocks: deque[Block] = deque()
        self._failures = 0
        self._lost_at: float | None = None
        self._was_connected = False

    def __enter__(self) -> Watch:
        """Connects; transitions are reported from now on."""
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection. A later `next` would reconnect and continue."""
        response, self._response, self._chunks = self._response, None, None
        self._parser = EventParser()
        if response is not None:
            response.close()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> WatchEvent:
        if not self._was_connected:
            self._begin()
        while True:
            while self._blocks:
                if event := self._take(self._blocks.popleft()):
                    return event
            self._step()

    def _begin(self) -> None:
        """The server sends the current position at once: without it, a connection that breaks before the first event
        could not be resumed."""
        self._connect()
        self._was_connected = True
        while self.last_event_id is None and not self._blocks:
            self._step()
            if self._blocks and not self._blocks[0].data:
                self._take(self._blocks.popleft())

    def _step(self) -> None:
        """Reads the next data, or reconnects."""
        try:
            if self._chunks is None:
                self._connect()
            self._read()
            self._failures, self._lost_at = 0, None
        except LongrunError as error:
            self.close()
            now = time.monotonic()
            self._lost_at = self._lost_at or now
            longest = self._client.settings.reconnect_for
            if not is_transient(error) or (longest is not None and now - self._lost_at >= longest):
                raise
            # Not at once: a server that is stopping may end its streams while it still accepts connections.
            asked_for = error.retry_after if isinstance(error, ApiError) else None
            time.sleep(_calls.pause(asked_for, self._failures))
            self._failures += 1

    def _connect(self) -> None:
        headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        call = Call(
            "GET",
            "v1/operations:watch",
            query=self._query,
            headers=headers,
            timeout=_calls.WATCH_SILENCE,
            # `_step` reconnects after a lost connection, for as long as the settings say.
            retries=0 if self._was_connected else None,
        )
        self._response = self._client._open(call)
        self._chunks = self._response.iter_bytes()

    def _read(self) -> None:
        assert self._chunks is not None, "a connection has chunks"
        try:
            self._blocks.extend(self._parser.push(self._chunks.__next__()))
        except StopIteration:
            raise TransportError(f"{self._client.settings.url} ended the stream") from None
        except (httpx.TransportError, httpx.StreamError) as error:
            raise TransportError(f"the connection to {self._client.settings.url} broke: {error}") from error
        except (ValueError, httpx.DecodingError) as error:
            raise UnexpectedAnswer(200, str(error)) from error

    def _take(self, block: Block) -> WatchEvent | None:
        if block.name == "error":
            status = 401 if '"code":16' in block.data else 400
            raise api_error(status, block.data)
        if block.id:
            self.last_event_id = block.id
        try:
            if block.name == "deleted":
                return WatchEvent(block.id, json.loads(block.data)["id"], None)
            if block.name or not block.data:
                # A keep-alive, or something from a newer server.
                return None
            operation = decode(wire.OperationAnswer, json.loads(block.data)).operation
            return WatchEvent(block.id, operation.id, operation)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UnexpectedAnswer(200, block.data) from None
