"""What needs no server."""

from __future__ import annotations

import pickle
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from server import PATIENCE, ROOT

import longrun
from longrun import _calls, _trace, wire
from longrun._attempt import output_text
from longrun._calls import Call, Settings
from longrun._wire import Block, EventParser, decode, duration, segment, time_text


def test_events_are_found_however_the_bytes_come() -> None:
    lines = [": watching", "id: 1-0", "", "id: 1-1", 'data: {"a":"é"}', "", "", ":", "", "event: error\r", "data:x\r"]
    text = "\n".join([*lines, "data: y\r", "\r", "id: 2"]).encode()
    expected = [Block("1-0"), Block("1-1", "", '{"a":"é"}'), Block("", "error", "x\ny")]
    for size in range(1, len(text) + 1):
        parser = EventParser()
        parts = [text[start : start + size] for start in range(0, len(text), size)]
        assert [block for part in parts for block in parser.push(part)] == expected
    with pytest.raises(ValueError, match="without an end"):
        list(EventParser().push(b"x" * (8 * 1024 * 1024 + 1)))


def test_answers_may_say_more_than_this_version_knows() -> None:
    page = decode(wire.Pagination, {"total_count": 1, "page": 0, "total_pages": 1, "page_size": 50, "later": True})
    assert page == wire.Pagination(total_count=1, page=0, total_pages=1, page_size=50)
    with pytest.raises(TypeError):
        decode(wire.Pagination, {"total_count": 1})


def test_durations_and_times_are_written_as_the_wire_has_them() -> None:
    assert [duration(value) for value in (60, 1.5, 0.0, timedelta(days=1), "7s", None)] == [
        "60s", "1.5s", "0s", "86400s", "7s", None,
    ]  # fmt: skip
    assert time_text(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00+00:00"
    with pytest.raises(ValueError, match="zone"):
        time_text(datetime(2026, 1, 2))


def test_parts_of_paths_cannot_leave_their_place() -> None:
    assert segment("../tokens?x#y") == "..%2Ftokens%3Fx%23y"
    for bad in ("", ".", ".."):
        with pytest.raises(ValueError, match="is not an id"):
            segment(bad)


def test_the_server_decides_about_pauses_within_bounds() -> None:
    assert (_calls.pause(3, 7), _calls.pause(3600, 0)) == (3, 30)
    # What repeats without a limit must not repeat without a pause.
    assert _calls.pause(0, 3) >= 0.8
    for repetition, longest in ((0, 0.2), (1, 0.4), (3, 1.6), (10_000, 30)):
        assert longest / 2 <= _calls.pause(None, repetition) <= longest


@pytest.mark.parametrize(
    ("outcome", "read", "once"),
    [
        (httpx.Response(429, headers={"retry-after": "1"}), True, True),
        (httpx.Response(429), False, False),
        (httpx.Response(503), True, True),
        (httpx.Response(502), True, False),
        (httpx.Response(504), True, False),
        (httpx.Response(500), False, False),
        (httpx.Response(400), False, False),
        (httpx.ConnectError("refused"), True, True),
        (httpx.ReadTimeout("silence"), True, False),
        (httpx.RemoteProtocolError("broken off"), True, False),
    ],
)
def test_a_call_is_repeated_only_where_that_is_safe(
    outcome: httpx.Response | httpx.TransportError, read: bool, once: bool
) -> None:
    assert _calls.is_worth_repeating(Call("GET", "x"), outcome) is read
    assert _calls.is_worth_repeating(Call("POST", "x:cancel", is_repeatable=False), outcome) is once


def test_a_busy_server_is_asked_again_when_it_says_and_a_foreign_answer_is_told() -> None:
    answers = [
        httpx.Response(503, headers={"retry-after": "0"}),
        httpx.Response(429, headers={"retry-after": "0"}, text="{}"),
        httpx.Response(200, text="<html>"),
    ]
    http = httpx.Client(transport=httpx.MockTransport(lambda request: answers.pop(0)))
    client = longrun.Client("http://host/prefix", "lrn_x", http=http)
    with pytest.raises(longrun.UnexpectedAnswer, match="not from a longrun server: <html>"):
        client.cancel("x")
    assert answers == []
    http.close()


def test_what_is_no_header_is_the_callers_error_and_not_sent() -> None:
    sent: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["idempotency-key"])
        return httpx.Response(400, json={"code": 3, "message": "must be one header of 1 to 256 characters"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = longrun.Client("http://host", "lrn_x", http=http)
        for key in ("日本", "line\n"):
            with pytest.raises(ValueError, match="Idempotency-Key must be printable ASCII"):
                client.create("task", idempotency_key=key)
        # Whoever gives a key relies on it: an empty one is refused and not replaced.
        with pytest.raises(longrun.InvalidRequest):
            client.create("task", idempotency_key="")
    assert sent == [""]


def test_the_packages_have_the_license() -> None:
    license = (ROOT / "LICENSE").read_bytes()
    assert all((ROOT / "clients" / client / "LICENSE").read_bytes() == license for client in ("python", "typescript"))


def test_clients_that_share_an_httpx_client_keep_their_addresses_and_tokens() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers.get("authorization")))
        return httpx.Response(200, json={"views": []})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        first = longrun.Client("http://one/prefix/", "lrn_1", http=http)
        second = longrun.Client("http://two", "lrn_2", http=http)
        first.views()
        second.views()
        # The token is for longrun alone.
        http.get("http://elsewhere/")
    assert seen == [
        ("http://one/prefix/v1/views", "Bearer lrn_1"),
        ("http://two/v1/views", "Bearer lrn_2"),
        ("http://elsewhere/", None),
    ]


def test_a_first_wait_is_repeated_as_often_as_any_other_call() -> None:
    calls: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url)
        raise httpx.ConnectError("refused")

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = longrun.Client("http://host", "lrn_x", http=http, retries=2)
        with pytest.raises(longrun.TransportError):
            client.wait("x")
    assert len(calls) == 3


def test_a_wait_respects_its_limit_even_if_the_server_falls_silent() -> None:
    limits: list[dict[str, float]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        limits.append(request.extensions["timeout"])
        raise httpx.ReadTimeout("silence")

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = longrun.Client("http://host", "lrn_x", http=http, retries=0)
        for timeout in (0.0, 5.0, None):
            with pytest.raises(longrun.TransportError):
                client.wait("x", timeout=timeout)
    assert [pytest.approx((found["read"], found["connect"]), abs=0.1) for found in limits] == [(2, 2), (7, 7), (40, 10)]


def test_a_worker_for_no_organization_is_not_one_for_all() -> None:
    with pytest.raises(ValueError, match="organizations is empty"):
        longrun.Worker(longrun.Client("http://host", "lrn_x"), organizations=[])
    with pytest.raises(ValueError, match="organizations is empty"):
        longrun.AsyncWorker(longrun.AsyncClient("http://host", "lrn_x"), organizations=iter(()))


def test_results_become_text_or_json_and_nothing_else() -> None:
    assert [output_text(value) for value in (None, "é", {"n": [1, None]})] == ["", "é", '{"n": [1, null]}']
    for value in (float("nan"), {"loss": float("inf")}):
        with pytest.raises(ValueError, match="JSON compliant"):
            output_text(value)


def test_errors_can_be_pickled() -> None:
    operation = wire.AsyncOperation(
        output="",
        error_message="broken",
        project_id="",
        kind="k",
        resource_type="",
        resource_id="",
        id="1",
        project_version_id="",
        status="ASYNC_OPERATION_STATUS_FAILED",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
    )
    status = {"code": 9, "message": "no", "details": [{"reason": "WRONG_STATUS", "metadata": {"status": "PENDING"}}]}
    for error in (
        longrun.WrongStatus(400, status, "r-1", 2.0),
        longrun.OperationFailed(operation),
        longrun.TransportError("broken off"),
        longrun.UnexpectedAnswer(200, "<html>"),
        longrun.WaitTimeout("1", 2.0),
        longrun.Failure("no", retryable=True),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_a_worker_waits_no_longer_for_work_than_a_server_lets_it() -> None:
    client = longrun.AsyncClient("http://host", "lrn_x", timeout=900)
    assert longrun.AsyncWorker(client, poll_wait=300)._poll_wait == 60
    assert longrun.AsyncWorker(client, poll_wait=0)._poll_wait == 1


def test_a_worker_can_be_stopped_by_a_signal_that_comes_while_it_is_being_stopped() -> None:
    worker = longrun.Worker(longrun.Client("http://host", "lrn_x"))

    def stop() -> None:
        with worker._lock:
            worker.stop()

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    stopping.join(PATIENCE / 10)
    assert not stopping.is_alive()


def test_refusals_say_each_thing_once() -> None:
    details = [
        {"reason": "INVALID_FIELDS", "metadata": {"limit": "1"}},
        {"fieldViolations": [{"field": "a", "description": "is unknown"}, {"field": "b", "description": "is bad"}]},
    ]
    error = longrun.ApiError(500, {"code": 13, "message": "a: is unknown", "details": details}, "r-1", 2.0)
    assert str(error) == "a: is unknown\n  b: is bad (request r-1)"
    assert (error.reason, error.metadata, error.retry_after) == ("INVALID_FIELDS", {"limit": "1"}, 2.0)


class FakeTracing:
    """What is used of OpenTelemetry's API, with one span under way at most."""

    def __init__(self) -> None:
        self.under_way: str | None = None

    def inject(self, carrier: dict[str, str]) -> None:
        if self.under_way:
            carrier["traceparent"] = self.under_way
            carrier["baggage"] = "user=ann"

    def extract(self, carrier: dict[str, str]) -> str:
        return carrier["traceparent"]

    def attach(self, context: str) -> str | None:
        before, self.under_way = self.under_way, context
        return before

    def detach(self, before: str | None) -> None:
        self.under_way = before


def test_calls_tell_the_span_under_way_and_handlers_run_below_their_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    tracing = FakeTracing()
    monkeypatch.setattr(_trace, "_propagate", tracing)
    monkeypatch.setattr(_trace, "_context", tracing)
    settings = Settings("http://host", "lrn_x")
    call = Call("POST", "v1/operations", headers={"Idempotency-Key": "k"})
    sent = call.for_httpx(settings)["headers"]
    assert sent == {"Authorization": "Bearer lrn_x", "User-Agent": "longrun-python", "Idempotency-Key": "k"}
    with _trace.below(traceparent):
        # Nothing else of the program's context leaves it.
        assert call.for_httpx(settings)["headers"] == {**sent, "traceparent": traceparent}
    with _trace.below(None):
        assert _trace.headers() == {}


def test_without_opentelemetry_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trace, "_propagate", None)
    with _trace.below("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        assert _trace.headers() == {}
