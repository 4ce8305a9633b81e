"""The stand-in itself: serves the routes on loopback, and remembers what was asked by whom.

Never logs, and never keeps a token of a request.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from typing_extensions import Self

from dataops_dagster.testing.tinybird import routes
from dataops_dagster.testing.tinybird.account import (
    Account,
    Dialect,
    Right,
    Token,
    Who,
    Workspace,
    make_token,
)
from dataops_dagster.testing.tinybird.engines import Engine, Row, Rows
from dataops_dagster.testing.tinybird.exchange import Answer, Json, Refused, Request, as_json

_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class Asked:
    """A request that came in: `who` is `user`, a workspace's name, or `nobody`.

    `token_in_url` says that the token could be read in the logs of a proxy.
    """

    method: str
    path: str
    who: str
    status: int
    token_in_url: bool


class StandIn:
    """A stand-in for Tinybird's API; use it with `with`. `url` goes where `TB_HOST` is expected."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.account = Account(engine or Rows())
        self.faults = self.account.faults
        self.requests: list[Asked] = []
        self.port = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        for workspace in list(self.account.mains()):
            self.account.delete(workspace)  # an engine outlives us

    @property
    def url(self) -> str:
        """The address, such as `http://127.0.0.1:40123`; it stays while the stand-in lives."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def user_token(self) -> str:
        """The token of the account's user, who may create and delete workspaces."""
        return self.account.user_token

    def create_workspace(self, name: str, dialect: Dialect = Dialect.FORWARD) -> Workspace:
        """Make a workspace; its admin token is `workspace.token`."""
        with self._lock:
            return self.account.create(name, dialect)

    def create_token(self, workspace: Workspace, *scopes: str) -> str:
        """Return a new token of a workspace, such as one with the scope `WORKSPACE:DEPLOY`."""
        made = Token(f"token {len(workspace.tokens)}", make_token(), [{"type": s} for s in scopes])
        with self._lock:
            workspace.tokens[made.name] = made
        return made.token

    def answer(self, endpoint: str, rows: list[Row]) -> None:
        """Let an endpoint answer with these rows, in all workspaces that have it."""
        with self._lock:
            self.account.answers[endpoint] = rows

    def workspace(self, name: str) -> Workspace:
        """Return a workspace by its name or id; raises `Refused` when there is none."""
        return self.account.find(name)

    def count(self, workspace: str, datasource: str) -> int:
        """Return how many rows a data source has."""
        with self._lock:
            return self.account.engine.count(self.workspace(workspace).table(datasource))

    @contextmanager
    def down(self) -> Iterator[None]:
        """Let nobody connect for a while; the state and the address stay."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def serve(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request, and remember it."""
        request = Request(method, target, {k.lower(): v for k, v in headers.items()}, body)
        with self._lock:
            fault = self.faults.strike(method, request.path)
        if fault and fault.seconds:
            self._closing.wait(fault.seconds)
            if self._closing.is_set():
                raise ConnectionAbortedError
        with self._lock:
            who = self.account.identify(request.token)
            if fault and fault.status:
                answer = as_json({"error": fault.error}, fault.status)
            else:
                answer = self._answer(request, who)
            name = who.name if who else "nobody"
            in_url = "token" in request.query
            self.requests.append(Asked(method, request.path, name, answer.status, in_url))
        return answer

    def _answer(self, request: Request, who: Who | None) -> Answer:
        try:
            return self._route(request, who)
        except Refused as refused:
            return as_json(refused.body, refused.status)
        except Exception as error:  # noqa: BLE001  # what we did not expect is a 500, as elsewhere
            return as_json({"error": f"{type(error).__name__}: {error}"}, 500)

    def _route(self, request: Request, who: Who | None) -> Answer:
        found = routes.find(request.method, request.path)
        if found is None:
            raise Refused(404, f"This stand-in knows no {request.method} {request.path}")
        route, groups = found
        if route.rights and who is None:
            raise Refused(403, "invalid authentication token")
        if route.rights and who and who.right not in route.rights:
            wanted = "a user token" if route.rights == {Right.USER} else "more rights"
            raise Refused(403, f"This needs {wanted}")
        request = dataclasses.replace(request, groups=groups)
        return route.handler(self.account, request, who or Who(Right.READ, None, "nobody"))

    def _open(self) -> None:
        self._closing.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.stand_in = self
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _close(self) -> None:
        self._closing.set()
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: StandIn

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that hung up, such as a command that was killed."""


class _Handler(BaseHTTPRequestHandler):
    # A connection that stays open would outlive `down`.
    protocol_version = "HTTP/1.0"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing: the paths of both command lines hold tokens."""

    def _answer(self) -> None:
        told_length = self.headers.get("Content-Length") or "0"
        length = int(told_length) if told_length.isdecimal() else _LARGEST + 1
        if length > _LARGEST:
            answer = as_json(_TOO_LARGE, 413)
        else:
            told, body = dict(self.headers.items()), self.rfile.read(length)
            try:
                answer = self.server.stand_in.serve(self.command, self.path, told, body)
            except ConnectionAbortedError:  # it was slow, and we end: hang up
                return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the names that the server calls


_TOO_LARGE: Json = {"error": f"The body has more than {_LARGEST} bytes"}
