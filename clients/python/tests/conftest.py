"""What the tests share: servers, and clients of both sorts."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server import Server

from longrun import AsyncClient, Client


class Blocking:
    """The client for asyncio, called like the other one, so that the same tests hold for both."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._inner = make()
        self._runner = asyncio.Runner()

    def _run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if inspect.iscoroutinefunction(found):
            return lambda *args, **kwargs: self._run(found(*args, **kwargs))
        if inspect.isasyncgenfunction(found):
            return lambda *args, **kwargs: self._iterate(found(*args, **kwargs))
        if name == "watch":
            return lambda **kwargs: BlockingWatch(self, found(**kwargs))
        return found

    def _iterate(self, items: Any) -> Iterator[Any]:
        while (item := self._run(anext(items, None))) is not None:
            yield item

    def __repr__(self) -> str:
        return repr(self._inner)

    def close(self) -> None:
        self._run(self._inner.aclose())
        self._runner.close()


class BlockingWatch:
    """A watch of `Blocking`."""

    def __init__(self, client: Blocking, watch: Any) -> None:
        self._client = client
        self._watch = watch

    def __enter__(self) -> BlockingWatch:
        self._client._run(self._watch.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._client._run(self._watch.aclose())

    def __next__(self) -> Any:
        return self._client._run(anext(self._watch))

    @property
    def last_event_id(self) -> Any:
        return self._watch.last_event_id


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that leave it as it is."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server for a test that kills it."""
    with Server(tmp_path) as server:
        yield server


@pytest.fixture(params=["sync", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients, of one sort and then of the other."""
    made: list[Any] = []

    def make(url: str, token: str, **settings: Any) -> Any:
        if request.param == "sync":
            made.append(Client(url, token, **settings))
        else:
            made.append(Blocking(lambda: AsyncClient(url, token, **settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(server: Server, connect: Callable[..., Any]) -> Any:
    return connect(server.url, server.token)


@pytest.fixture
def resource() -> dict[str, str]:
    """What nobody else's operations are about."""
    return {"resource_type": "test", "resource_id": uuid.uuid4().hex}
