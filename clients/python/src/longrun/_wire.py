"""Conversions between Python and the wire format: values, durations, path segments, server-sent events."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

T = TypeVar("T")

#: Maximum size of an event in bytes: an output of 1 MiB in JSON, with space for escapes.
_MAX_EVENT_BYTES = 8 * 1024 * 1024


@cache
def _fields(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def decode(kind: type[T], value: Any) -> T:
    """Converts a JSON value to this type. Unknown fields are left out: newer servers may send more.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: it is no such value.
    """
    return typing.cast(T, _decode(kind, value))


def _decode(kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if value is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return _decode(next(part for part in typing.get_args(kind) if part is not type(None)), value)
    if origin is list:
        [part] = typing.get_args(kind)
        return [_decode(part, each) for each in value]
    if is_dataclass(kind):
        fields = _fields(typing.cast(Any, kind))
        return typing.cast(Any, kind)(**{name: _decode(fields[name], value[name]) for name in fields if name in value})
    if kind is datetime:
        return datetime.fromisoformat(value)
    return value


def segment(text: str) -> str:
    """One segment of a path, escaped so that it cannot lead elsewhere."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is not an id, digest or name")
    return quote(text, safe="")


def duration(value: float | timedelta | str | None) -> str | None:
    """A duration in the wire format: seconds with an `s`."""
    if value is None or isinstance(value, str):
        return value
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def seconds(text: str) -> float:
    """The seconds of a duration such as `1.5s`."""
    return float(text.removesuffix("s"))


def time_text(value: datetime | str | None) -> str | None:
    """A time in the wire format. A time without a time zone is refused, because it is ambiguous."""
    if value is None or isinstance(value, str):
        return value
    if value.tzinfo is None:
        raise ValueError("the time has no time zone; use datetime.now(timezone.utc), for instance")
    return value.isoformat()


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    """The given values, without those that are `None`."""
    return {name: value for name, value in fields.items() if value is not None}


@dataclass
class Block:
    """One block of a stream of server-sent events."""

    id: str = ""
    name: str = ""
    data: str = ""


class EventParser:
    """An incremental parser for server-sent events, independent of how the bytes are split."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._looked_at = 0
        self._block = Block()

    def push(self, chunk: bytes) -> Iterator[Block]:
        """Returns the blocks that these bytes complete.

        Raises:
            ValueError: an event is larger than any.
        """
        self._rest += chunk
        while (end := self._rest.find(b"\n", self._looked_at)) >= 0:
            line = self._rest[:end].decode("utf-8", "replace").removesuffix("\r")
            del self._rest[: end + 1]
            self._looked_at = 0
            if line:
                self._line(line)
            elif self._block != Block():
                block, self._block = self._block, Block()
                yield block
        self._looked_at = len(self._rest)
        if self._looked_at + len(self._block.data) > _MAX_EVENT_BYTES:
            raise ValueError("an event without an end")

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._block.id = value
        elif name == "event":
            self._block.name = value
        elif name == "data":
            self._block.data += ("\n" if self._block.data else "") + value
