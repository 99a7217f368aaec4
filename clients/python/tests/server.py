"""Servers to test against: the real one, with a store of its own on a free port."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

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
        kinds = ("task", "walk", "never", "other", "word_count", "export", "thumbnail")
        (folder / "longrun.toml").write_text("".join(f"[kinds.{kind}]\ntype = 'remote'\n" for kind in kinds))
        self._environment = outside | {
            "LONGRUN_STORE": "sqlite:longrun.db",
            "LONGRUN_POLICIES_FOLDER": str(ROOT / "examples" / "policies"),
            **settings,
        }
        create = ["token", "create", "--organization", "acme", "--name", "test", "--scopes", "admin", "-o", "id"]
        self.token = self.run(*create).strip()
        manage = ["token", "create", "--instance", "--name", "manager", "--scopes", "admin,operations:work", "-o", "id"]
        #: A token of the instance, which manages organizations and works for them.
        self.manager = self.run(*manage).strip()
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


def until(what: str, holds: Callable[[], Any]) -> Any:
    """Asks until it holds, and answers what it then is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
    return found
