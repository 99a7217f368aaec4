"""What needs no server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

import longrun
from longrun import _calls, _trace, wire
from longrun._calls import Call
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
    for repetition, longest in ((0, 0.2), (1, 0.4), (3, 1.6), (10_000, 30)):
        assert longest / 2 <= _calls.pause(None, repetition) <= longest


@pytest.mark.parametrize(
    ("outcome", "read", "once"),
    [
        (httpx.Response(429), True, True),
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
    assert answers == [] and str(http.base_url) == "http://host/prefix/"
    http.close()


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
    call = Call("POST", "v1/operations", headers={"Idempotency-Key": "k"})
    assert call.for_httpx()["headers"] == {"Idempotency-Key": "k"}
    with _trace.below(traceparent):
        # Nothing else of the program's context leaves it.
        assert call.for_httpx()["headers"] == {"Idempotency-Key": "k", "traceparent": traceparent}
    with _trace.below(None):
        assert _trace.headers() == {}


def test_without_opentelemetry_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trace, "_propagate", None)
    with _trace.below("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        assert _trace.headers() == {}
