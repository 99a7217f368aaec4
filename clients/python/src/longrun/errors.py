"""Why a call did not succeed, in the form that a caller can act on.

`LongrunError` is above all of them. A server that refuses says why (`google.rpc.Status`): that is an `ApiError`, or the
class below it for its code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .wire import Operation

#: How much of a foreign answer a message shows.
_EXCERPT_CHARS = 200


class LongrunError(Exception):
    """Above every error of this package."""


class TransportError(LongrunError):
    """The server cannot be reached, or the connection broke during a call: whether the call took effect is unknown."""


class UnexpectedAnswer(LongrunError):
    """The answer is none that longrun gives: another program answers at this address."""

    def __init__(self, http_status: int, text: str) -> None:
        super().__init__(f"HTTP {http_status} with something that is not longrun's: {text[:_EXCERPT_CHARS]}")
        self.http_status = http_status


class WaitTimeout(LongrunError, TimeoutError):
    """The operation has not ended in time. It goes on."""

    def __init__(self, operation_id: str, seconds: float) -> None:
        super().__init__(f"operation {operation_id} has not ended within {seconds:g} s")
        self.operation_id = operation_id


class OperationFailed(LongrunError):
    """The operation whose result was asked for has failed."""

    def __init__(self, operation: Any) -> None:
        super().__init__(f"operation {operation.id} failed: {operation.error_message}")
        #: The operation.
        self.operation: Operation = operation


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with one field of a request."""

    #: Its path, e.g. `operations[3].kind`.
    field: str
    #: What was wrong and what would be right.
    description: str


class ApiError(LongrunError):
    """The server refused the call and said why."""

    def __init__(self, http_status: int, status: dict[str, Any], request_id: str | None, retry_after: float | None):
        details = [detail for detail in status.get("details", []) if isinstance(detail, dict)]
        #: The HTTP status; of an error that comes in a stream, that which the answer to a call would have had.
        self.http_status = http_status
        #: A number of `google.rpc.Code`.
        self.code: int = status.get("code", 0)
        #: For people; it may change from version to version.
        self.message: str = status.get("message", "")
        #: The stable name of the reason, e.g. `INVALID_FIELDS`; empty when there is none.
        self.reason: str = next((detail["reason"] for detail in details if "reason" in detail), "")
        #: Particulars of the reason, e.g. `{"limit": "100"}`.
        self.metadata: dict[str, str] = next((detail["metadata"] for detail in details if "metadata" in detail), {})
        #: What is wrong with which field.
        self.violations = [
            FieldViolation(str(found.get("field", "")), str(found.get("description", "")))
            for detail in details
            for found in detail.get("fieldViolations", [])
        ]
        #: What the server's log calls this call.
        self.request_id = request_id
        #: In how many seconds the server wants to be asked again.
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
    """There is no such thing for this caller (code 5)."""


class Conflict(ApiError):
    """An idempotency key that belongs to another request or to what was deleted (6); a lease that is lost (10)."""


class PermissionDenied(ApiError):
    """The token lacks a scope, or may not see the project (code 7)."""


class TooMuch(ApiError):
    """A limit, 429 (code 8); `retry_after` says when to come again."""


class WrongStatus(ApiError):
    """The state of the operation does not allow it (code 9)."""


class EventIdUnknown(ApiError):
    """What followed the event is not kept any more (code 11): list the operations, then watch from now on."""


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
    """The error for the body of an answer that is no success."""
    try:
        status = json.loads(body)
        kind = _BY_CODE.get(status["code"], ApiError)
        return kind(http_status, status, request_id, retry_after)
    except (ValueError, TypeError, KeyError, AttributeError):
        return UnexpectedAnswer(http_status, body if isinstance(body, str) else body.decode("utf-8", "replace"))


def is_transient(error: LongrunError) -> bool:
    """Whether the same call may succeed later."""
    status = getattr(error, "http_status", 0)
    return isinstance(error, TransportError) or status == 429 or status >= 500
