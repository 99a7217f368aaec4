"""Why a call did not succeed, in a form that a caller can act on.

`LongrunError` is the base class of all of them. A server refuses with a reason (`google.rpc.Status`): that becomes an
`ApiError`, or its subclass for the code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .wire import Operation

#: How many characters of an answer that is not longrun's a message shows.
_EXCERPT_CHARS = 200


class LongrunError(Exception):
    """The base class of every error of this package. They can be pickled, as process pools do with what is raised."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[LongrunError], args: tuple[Any, ...], fields: dict[str, Any]) -> LongrunError:
    """The error that was pickled. Its constructor has other arguments than the text that exceptions keep."""
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(fields)
    return error


class TransportError(LongrunError):
    """The server cannot be reached, or the connection broke during a call: whether the call took effect is unknown."""


class UnexpectedAnswer(LongrunError):
    """The answer is not one that longrun gives: another program answers at this address."""

    def __init__(self, http_status: int, text: str) -> None:
        super().__init__(f"HTTP {http_status}, but the answer is not from a longrun server: {text[:_EXCERPT_CHARS]}")
        self.http_status = http_status


class WaitTimeout(LongrunError, TimeoutError):
    """The operation has not ended in time. It continues."""

    def __init__(self, operation_id: str, seconds: float) -> None:
        super().__init__(f"operation {operation_id} has not ended within {seconds:g} s")
        self.operation_id = operation_id


class OperationFailed(LongrunError):
    """The operation whose result was requested has failed."""

    def __init__(self, operation: Any) -> None:
        super().__init__(f"operation {operation.id} failed: {operation.error_message}")
        #: The operation.
        self.operation: Operation = operation


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    #: Its path, e.g. `operations[3].kind`.
    field: str
    #: What was wrong and what would be valid.
    description: str


class ApiError(LongrunError):
    """The server refused the call and gave a reason."""

    def __init__(self, http_status: int, status: dict[str, Any], request_id: str | None, retry_after: float | None):
        details = [detail for detail in status.get("details", []) if isinstance(detail, dict)]
        #: The HTTP status; of an error that comes in a stream, the status that a normal call would have had.
        self.http_status = http_status
        #: A number of `google.rpc.Code`.
        self.code: int = status.get("code", 0)
        #: A message for people; it may change from version to version.
        self.message: str = status.get("message", "")
        #: The stable name of the reason, e.g. `INVALID_FIELDS`; empty when there is none.
        self.reason: str = next((detail["reason"] for detail in details if "reason" in detail), "")
        #: Details of the reason, e.g. `{"limit": "100"}`.
        self.metadata: dict[str, str] = next((detail["metadata"] for detail in details if "metadata" in detail), {})
        #: What is wrong with which field.
        self.violations = [
            FieldViolation(str(found.get("field", "")), str(found.get("description", "")))
            for detail in details
            for found in detail.get("fieldViolations", [])
        ]
        #: The id of the call in the server's log.
        self.request_id = request_id
        #: In how many seconds the server wants the call to be repeated.
        self.retry_after = retry_after
        super().__init__(self.message)

    def __str__(self) -> str:
        lines = [self.message]
        lines += [f"  {v.field}: {v.description}" for v in self.violations if v.description not in self.message]
        tail = f" (request {self.request_id})" if self.request_id and self.http_status >= 500 else ""
        return "\n".join(lines) + tail


class InvalidRequest(ApiError):
    """Fields or parameters are not valid (code 3); `violations` names them."""


class NotFound(ApiError):
    """The object does not exist for this caller (code 5)."""


class Conflict(ApiError):
    """An idempotency key that belongs to another request or to a deleted object (6); a lost lease (10)."""


class PermissionDenied(ApiError):
    """The token lacks a scope, or access to the project (code 7)."""


class TooMuch(ApiError):
    """A limit was reached, 429 (code 8); `retry_after` says when to try again, if that can help."""


class WrongStatus(ApiError):
    """The state of the operation does not allow it (code 9)."""


class EventIdUnknown(ApiError):
    """The events after the given one are no longer kept (code 11): watch from now on, then list the operations."""


class Unavailable(ApiError):
    """The server is busy or its store is away: 503 (code 14) and 504 (code 4)."""


class Unauthenticated(ApiError):
    """No valid token (code 16)."""


_BY_CODE: dict[int, type[ApiError]] = {
    3: InvalidRequest,
    4: Unavailable,
    5: NotFound,
    6: Conflict,
    7: PermissionDenied,
    8: TooMuch,
    9: WrongStatus,
    10: Conflict,
    11: EventIdUnknown,
    14: Unavailable,
    16: Unauthenticated,
}


def api_error(
    http_status: int, body: str | bytes, request_id: str | None = None, retry_after: float | None = None
) -> LongrunError:
    """The error for the body of an answer that is not a success."""
    try:
        status = json.loads(body)
        kind = _BY_CODE.get(status["code"], ApiError)
        return kind(http_status, status, request_id, retry_after)
    except (ValueError, TypeError, KeyError, AttributeError):
        return UnexpectedAnswer(http_status, body if isinstance(body, str) else body.decode("utf-8", "replace"))


def is_transient(error: LongrunError) -> bool:
    """Whether the same call may succeed later."""
    status = getattr(error, "http_status", 0)
    if isinstance(error, ApiError) and status == 429:
        # A limit that does not pass by itself has no time after which to try again.
        return error.retry_after is not None
    return isinstance(error, TransportError) or status == 429 or status >= 500
