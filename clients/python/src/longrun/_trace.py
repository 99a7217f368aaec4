"""The trace that the program is part of, if OpenTelemetry's API is installed; it is optional."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_context: Any = None
_propagate: Any = None
try:
    from opentelemetry import context as _context
    from opentelemetry import propagate as _propagate
except ImportError:
    pass

_HEADER = "traceparent"


def headers() -> dict[str, str]:
    """The header that names the current span, if there is one."""
    carrier: dict[str, str] = {}
    if _propagate is not None:
        _propagate.inject(carrier)
    return {_HEADER: carrier[_HEADER]} if _HEADER in carrier else {}


@contextmanager
def below(traceparent: str | None) -> Iterator[None]:
    """Within this context, new spans are children of this one."""
    if traceparent is None or _propagate is None:
        yield
        return
    token = _context.attach(_propagate.extract({_HEADER: traceparent}))
    try:
        yield
    finally:
        _context.detach(token)
