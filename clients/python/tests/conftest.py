"""Servers to test against: the real one, with a store of its own on a free port."""

from __future__ import annotations

import asyncio
import inspect
import os
import select
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from longrun import AsyncClient, Client

ROOT = Path(__file__).parents[3]
BINARY = os.environ.get("LONGRUN_BIN", str(ROOT / "target" / "debug" / "longrun"))
#: Longer than anything takes on a busy machine.
PATIENCE = 60.0


class Server:
    """A `longrun serve` that can be killed and started again at the same address."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        outside = {name: value for name, value in os.environ.items() if not name.startswith("LONGRUN_")}
        (folder / "longrun.toml").write_text(
            "".join(f"[kinds.{kind}]\ntype = 'remote'\n" for kind in ("task", "walk", "never", "other", "word_count"))
        )
        self._environment = outside | {
            "LONGRUN_POLICIES_FOLDER": str(ROOT / "examples" / "policies"),
            **settings,
        }
        create = ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "-o", "id"]
        self.token = self.run(*create, "--store", "sqlite:longrun.db").strip()
        self.start()

    def run(self, *arguments: str) -> str:
        """Runs a command."""
        done = subprocess.run(
            [BINARY, *arguments], cwd=self.folder, env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        self._process = subprocess.Popen(
            [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", "127.0.0.1:0"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if '"listening"' in line:
                break
        else:
            raise AssertionError("".join(lines))
        # What it says later is read and dropped, so that it never waits for a reader.
        self._reader = threading.Thread(target=self._drop, args=[self._process.stdout], daemon=True)
        self._reader.start()

    @staticmethod
    def _drop(lines: IO[str]) -> None:
        with lines:
            for _ in lines:
                pass

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Proxy:
    """Stands between a client and a server, and loses answers when told to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: How many of the next answers are lost: the server has carried out the call.
        self.lose = 0
        #: How many answers were lost.
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server.port)) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if source is server and data and self.lose:
                        self.lose -= 1
                        self.lost += 1
                        return
                    if not data:
                        return
                    (client if source is server else server).sendall(data)

    def close(self) -> None:
        self._listener.close()


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


def until(what: str, holds: Callable[[], Any]) -> Any:
    """Asks until it holds, and answers what it then is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
    return found
