"""What both clients share and what sends nothing: how calls are built, when they are repeated, how answers are read."""

from __future__ import annotations

import ipaddress
import os
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from . import _trace, _wire
from ._operation import status_name
from .errors import LongrunError, TransportError, UnexpectedAnswer, api_error

T = TypeVar("T")

#: The first pause if the server requested no time; further ones double, in seconds.
_FIRST_PAUSE = 0.2
#: No pause is longer, whatever the server requests: a caller that wants to wait longer can do so.
_LONGEST_PAUSE = 30.0
#: How long connecting may take.
_CONNECT_SECONDS = 10.0
#: A watched server sends something every 15 s; after this time without data, the connection is considered dead.
WATCH_SILENCE = 45.0
#: The maximum time of one call of a wait. Servers accept 60 s, but proxies often close connections silent that long.
LONGEST_WAIT = 30.0
#: How many seconds an answer to a wait may be late; after that, the server is considered to be away.
LATE = 10.0
#: The same at the end of the caller's limit, which must be respected.
LATE_AT_THE_END = 2.0
#: The pause between two calls of a wait if the first returned early: a server that is stopping answers at once.
WAIT_PAUSE = 0.2


@dataclass(frozen=True)
class Settings:
    """The settings of a client. Times are in seconds."""

    #: The server's address, e.g. `http://127.0.0.1:8080`.
    url: str
    #: An API token.
    token: str = field(repr=False)
    #: How long the server may be silent during a call.
    timeout: float = 90.0
    #: How often a call that a busy server refused, or whose connection broke, is sent again, if that is safe.
    retries: int = 4
    #: How long `wait` and `watch` try to reconnect to a server that went away; `None`: forever.
    reconnect_for: float | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{self.url!r} is not a valid server address: it must start with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the server address must have neither a user, a password nor a query")
        token = self.token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("the token is empty or contains invalid characters")
        object.__setattr__(self, "token", token)

    @staticmethod
    def of_environment() -> tuple[str, str]:
        """The address and the token from the environment, in the same variables that the command line uses."""
        url = os.environ.get("LONGRUN_URL", "")
        token = os.environ.get("LONGRUN_TOKEN", "")
        if not token and (path := os.environ.get("LONGRUN_TOKEN_FILE")):
            token = Path(path).read_text("ascii")
        if not url or not token:
            raise ValueError("LONGRUN_URL and LONGRUN_TOKEN (or LONGRUN_TOKEN_FILE) must be set")
        return url, token

    def for_httpx(self) -> dict[str, Any]:
        """The arguments of the httpx client. Redirects are not followed: the token is for this server alone."""
        return {
            "timeout": httpx.Timeout(self.timeout, connect=_CONNECT_SECONDS),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # A proxy must not be used for calls to the local machine.
            "trust_env": not _is_loopback(self.url),
        }


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Call:
    """A call that can be sent."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    #: Whether sending it twice is safe. Other calls are sent again only if the server did not
    #: carry them out: it could not be reached, or refused them (503, or 429 with a time).
    is_repeatable: bool = True
    #: Overrides how long the server may be silent.
    timeout: float | None = None
    #: Overrides how often it is sent again.
    retries: int | None = None

    def for_httpx(self, settings: Settings) -> dict[str, Any]:
        """The arguments of httpx' `build_request`. The address and the token are those of this call alone: an httpx
        client that others use too must not send them elsewhere."""
        for name, value in self.headers.items():
            # httpx would report some of it as a failed connection.
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"{name} must be printable ASCII and not {value!r}")
        own = {"Authorization": f"Bearer {settings.token}", "User-Agent": "longrun-python"}
        headers = {**own, **_trace.headers(), **self.headers}
        url = f"{settings.url.rstrip('/')}/{self.path}"
        arguments: dict[str, Any] = {"method": self.method, "url": url, "headers": headers}
        if self.query:
            arguments["params"] = self.query
        if self.json is not None:
            arguments["json"] = self.json
        if self.content is not None:
            arguments["content"] = self.content
        if self.timeout is not None:
            arguments["timeout"] = httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_SECONDS))
        return arguments


def pause(asked: float | None, repetition: int) -> float:
    """How long to pause before repetition number `repetition` (0 for the first): as the server requested, or growing,
    half of it random, so that many clients do not come back at once. A server that asks for no pause at all gets one
    too: `wait`, `watch` and workers repeat their calls without a limit."""
    if asked:
        return min(asked, _LONGEST_PAUSE)
    longest: float = min(_FIRST_PAUSE * 2.0 ** min(repetition, 20), _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)


def retry_after(response: httpx.Response) -> float | None:
    """`Retry-After` in seconds. The date format is not parsed: longrun never sends it."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None


def refusal(response: httpx.Response) -> LongrunError:
    """The error for an answer that is not a success and whose body has been read."""
    request_id = response.headers.get("x-request-id")
    return api_error(response.status_code, response.content, request_id, retry_after(response))


def transport_error(url: str, error: httpx.TransportError) -> TransportError:
    """The error for a connection that could not be established or broke."""
    what = "cannot connect to" if never_sent(error) else "the connection failed to"
    return TransportError(f"{what} {url}: {str(error) or type(error).__name__}")


def never_sent(error: httpx.TransportError) -> bool:
    """Whether the server cannot have received the call."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def is_worth_repeating(call: Call, outcome: httpx.Response | httpx.TransportError) -> bool:
    """Whether the call is sent again."""
    if isinstance(outcome, httpx.Response):
        status = outcome.status_code
        # Without a time the limit is not one that passes, such as that of the evidence an organization may store.
        is_busy = status == 503 or (status == 429 and retry_after(outcome) is not None)
        return is_busy or (call.is_repeatable and status in (502, 504))
    return call.is_repeatable or never_sent(outcome)


def read(kind: type[T], response: httpx.Response) -> T:
    """The answer of a success."""
    try:
        return _wire.decode(kind, response.json())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnexpectedAnswer(response.status_code, response.text) from None


def key(given: str | None) -> dict[str, str]:
    """The header that makes a repeated creation return the first result; without a key from the caller, a new one."""
    return {"Idempotency-Key": uuid.uuid4().hex if given is None else given}


def claim(
    settings: Settings, kinds: Iterable[str], max_operations: int, wait: float, organizations: Iterable[str] | None
) -> Call:
    """The call that claims operations."""
    body: dict[str, Any] = {
        "kinds": list(kinds),
        "max_operations": max_operations,
        "wait": _wire.duration(float(wait)),
    }
    if organizations is not None:
        body["organizations"] = list(organizations)
    return Call("POST", "v1/operations:claim", json=body, retries=0, timeout=settings.timeout + wait)


def filters(status: str | None, kind: str | None, resource_type: str | None, resource_id: str | None) -> dict[str, str]:
    """The query parameters of lists and watches."""
    asked = {
        "status": status and status_name(status),
        "kind": kind,
        "resource_type": resource_type,
        "resource_id": resource_id,
    }
    return _wire.without_none(asked)
