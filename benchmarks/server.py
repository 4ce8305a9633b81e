"""git's smart HTTP protocol on loopback, in a process of its own that counts what it answers.

    python -m benchmarks.server ROOT

It prints its port and ends with its standard input. `git http-backend` does the work; bodies are
streamed, connections are kept alive, and no answer waits for a delayed acknowledgement.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from benchmarks.processes import child

COUNTERS = "/-/counters"
"""The private path where the counters are read; asking for them is not counted."""

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Counters:
    """What a server saw so far: connections, requests, and bytes of bodies both ways."""

    connections: int = 0
    requests: int = 0
    received: int = 0
    sent: int = 0

    def __sub__(self, before: Counters) -> Counters:
        return Counters(
            self.connections - before.connections,
            self.requests - before.requests,
            self.received - before.received,
            self.sent - before.sent,
        )


@dataclass(frozen=True)
class Running:
    """A running server, as its clients see it."""

    url: str

    def counters(self) -> Counters:
        """Ask for the counters."""
        with urllib.request.urlopen(self.url + COUNTERS) as answer:  # noqa: S310  # our own URL
            return Counters(**json.load(answer))


@contextlib.contextmanager
def running(root: Path) -> Iterator[Running]:
    """Serve the repositories below `root` as long as the block lasts."""
    with child("benchmarks.server", str(root)) as process:
        assert process.stdout
        yield Running(f"http://127.0.0.1:{int(process.stdout.readline())}")


@dataclass
class _Tally:
    lock: threading.Lock = field(default_factory=threading.Lock)
    counters: Counters = field(default_factory=Counters)

    def add(self, more: Counters) -> None:
        with self.lock:
            self.counters = more - (Counters() - self.counters)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, root: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tally = _Tally()
        folder = subprocess.run(["git", "--exec-path"], capture_output=True, check=True, text=True)
        self.program = str(Path(folder.stdout.strip()) / "git-http-backend")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_PROJECT_ROOT": root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_ADDR": "127.0.0.1",
        }

    def handle_error(self, request: object, client_address: object) -> None:
        # A client that left is no error of ours.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 2 * _CHUNK  # headers and a small body leave together
    server: _Server
    connected = 1  # until the first request of a connection was counted

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == COUNTERS:
            text = json.dumps(vars(self.server.tally.counters)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        else:
            self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.server.tally.add(Counters(connections=self.connected, requests=1))
        self.connected = 0
        with subprocess.Popen(
            [self.server.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        ) as backend:
            assert backend.stdin
            assert backend.stdout
            # A thread only for what may not fit into the pipe.
            length = self.headers.get("Content-Length", "0" if self.command == "GET" else None)
            if length is not None and int(length) < _CHUNK:
                self._feed(backend.stdin)
                self._relay(backend.stdout)
                return
            feeder = threading.Thread(target=self._feed, args=(backend.stdin,))
            feeder.start()
            self._relay(backend.stdout)
            feeder.join()

    def _environment(self) -> dict[str, str]:
        parts = urlsplit(self.path)
        given = {
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        if length := self.headers.get("Content-Length"):
            given["CONTENT_LENGTH"] = length  # without it the backend reads to the end
        return {**self.server.environment, **given}

    def _feed(self, into: IO[bytes]) -> None:
        with contextlib.suppress(BrokenPipeError), into:
            for piece in self._body():
                self.server.tally.add(Counters(received=len(piece)))
                into.write(piece)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, _CHUNK))
            left -= len(piece)
            yield piece

    def _relay(self, source: IO[bytes]) -> None:
        headers = {}
        while line := source.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name] = value
        status = int(headers.pop("Status", "200").split()[0])
        self._answer(status, headers, source)

    def _answer(self, status: int, headers: dict[str, str], source: IO[bytes]) -> None:
        """Send a short body whole, and a long one in chunks as it comes."""
        piece = source.read(_CHUNK)
        self.server.tally.add(Counters(sent=len(piece)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if len(piece) < _CHUNK:
            self.send_header("Content-Length", str(len(piece)))
            self.end_headers()
            self.wfile.write(piece)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            piece = source.read(_CHUNK)
            self.server.tally.add(Counters(sent=len(piece)))
        self.wfile.write(b"0\r\n\r\n")


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _Server(sys.argv[1]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
