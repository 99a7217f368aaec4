"""The Python client of longrun: `Client` and `AsyncClient` call a server, `Worker` and `AsyncWorker` run operations.

from longrun import Client

with Client("http://127.0.0.1:8080", "lrn_...") as client:
    operation = client.create("export", input={"format": "csv"})
    print(client.wait(operation.id).result())
"""

from ._async import AsyncClient
from ._async_watch import AsyncWatch
from ._sync import Client
from ._sync_watch import Watch
from .errors import (
    ApiError,
    Conflict,
    EventIdUnknown,
    FieldViolation,
    InvalidRequest,
    LongrunError,
    NotFound,
    OperationFailed,
    PermissionDenied,
    TooMuch,
    TransportError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
    WrongStatus,
)
from .watch import WatchEvent
from .wire import NewOperation, Operation
from .worker import AsyncWorker, Attempt, Cancelled, Failure, Worker

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncWatch",
    "AsyncWorker",
    "Attempt",
    "Cancelled",
    "Client",
    "Conflict",
    "EventIdUnknown",
    "Failure",
    "FieldViolation",
    "InvalidRequest",
    "LongrunError",
    "NewOperation",
    "NotFound",
    "Operation",
    "OperationFailed",
    "PermissionDenied",
    "TooMuch",
    "TransportError",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
    "Watch",
    "WatchEvent",
    "Worker",
    "WrongStatus",
]
