"""A git server that fails as told, and the world a promotion over it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dataops_dagster import config
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.model import Conflicted, Held, Promoted, Raced, Rejected
from dataops_dagster.store import Store
from tests.conftest import PROJECT_FILES, SHOP, Book, Shop, make_shop
from tests.repositories import Workspace, git
from tests.smart_http import SmartHttpServer, _Handler

LOOK_UP, FETCH, PUSH = "look-up", "fetch", "push"
UPLOAD_OFFER, PUSH_OFFER = "upload-offer", "push-offer"
"""The five requests there are, by what is asked; the offers say what the server can."""

PATIENCE_SECONDS = 8.0
"""After this a server that never answers closes: a client without a deadline fails, not hangs."""

SLACK_SECONDS = 4.0
"""How late a loaded machine may be at a deadline."""

Fault = Callable[["FaultyHandler", bytes], None]


@dataclass
class Planned:
    """A fault, which requests meet it, and how many of them (None: all)."""

    do: Fault
    kinds: frozenset[str]
    times: int | None
    path: str
    met: int = 0

    def meets(self, kind: str, path: str) -> bool:
        due = self.times is None or self.met < self.times
        return due and kind in self.kinds and self.path in path


class BadServer(SmartHttpServer):
    """Serves as `SmartHttpServer`, but for the faults that it is given.

    `log` holds the kind and repository of every request, `connections` counts TCP connections,
    `sent` the bytes of faults that never end. Nothing is read of posts to `stops_reading`.
    """

    def __init__(self, root: Path, **more: object) -> None:
        super().__init__(root, **more)
        self.RequestHandlerClass = FaultyHandler
        self.faults: list[Planned] = []
        self.log: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.answers: list[int] = []
        self.connections = 0
        self.mistakes: list[str] = []
        self.sent = 0
        self.stops_reading = ""
        self.closing = threading.Event()
        self._open: set[socket.socket] = set()

    def fails(self, do: Fault, *kinds: str, times: int | None = None, path: str = "") -> Planned:
        """Let requests of these kinds, for repositories named `path`, meet a fault."""
        planned = Planned(do, frozenset(kinds), times, path)
        self.faults.append(planned)
        return planned

    def count(self, kind: str, path: str = "") -> int:
        return sum(k == kind and path in p for k, p in self.log)

    def get_request(self):
        accepted = super().get_request()
        self.connections += 1
        self._open.add(accepted[0])
        return accepted

    def handle_error(self, *_: object) -> None:
        """Say nothing where a connection broke: that is what these tests are about."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.mistakes.append(traceback.format_exc())

    def drop_connections(self) -> None:
        """Close all connections, as a server does with those that nobody used for long."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.closing.set()
        assert not self.mistakes, self.mistakes[0]
        self.shutdown()
        self.server_close()
        self.drop_connections()


class FaultyHandler(_Handler):
    """Meets each request with the first fault that is due, else as git does."""

    server: BadServer

    def do_POST(self) -> None:  # noqa: N802  # its name is http.server's
        stops = self.server.stops_reading
        if stops and self.path.endswith(stops):
            return never(self, b"")
        return super().do_POST()

    def _serve(self, body: bytes) -> None:
        kind = self._kind(body)
        repository = self.path.split("/")[1]
        self.server.log.append((kind, repository))
        self.server.bodies.append(body)
        due = next((f for f in self.server.faults if f.meets(kind, repository)), None)
        if due is None:
            return super()._serve(body)
        due.met += 1
        return due.do(self, body)

    def _kind(self, body: bytes) -> str:
        if self.command == "GET":
            return PUSH_OFFER if self.path.endswith("receive-pack") else UPLOAD_OFFER
        if self.path.endswith("receive-pack"):
            return PUSH
        return LOOK_UP if b"command=ls-refs" in body[:40] else FETCH

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self._last = status, headers, content
        self.server.answers.append(len(content))
        if not getattr(self, "silent", False):
            super()._answer(status, headers, content)

    def real_answer(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return what git's own server says, without sending it."""
        self.silent = True
        try:
            super()._serve(body)
        finally:
            self.silent = False
        return self._last

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


# --- faults -----------------------------------------------------------------------------------


def kind_of_content(handler: FaultyHandler) -> str:
    """Return the content type that git expects for the request."""
    program = "git-receive-pack" if "receive-pack" in handler.path else "git-upload-pack"
    return f"application/x-{program}-{'advertisement' if handler.command == 'GET' else 'result'}"


def says(status: int, content: bytes = b"", kind: str = "", **headers: str) -> Fault:
    """Answer with a status, and content of a type (by default the one that git expects)."""

    def do(handler: FaultyHandler, _: bytes) -> None:
        sent = {"Content-Type": kind or kind_of_content(handler), **headers}
        handler._answer(status, sent, content)

    return do


def never(handler: FaultyHandler, _: bytes) -> None:
    """Accept the request and say nothing."""
    handler.server.closing.wait(PATIENCE_SECONDS)
    handler.hang_up()


def hangs_up(handler: FaultyHandler, _: bytes) -> None:
    """Close the connection instead of answering."""
    handler.hang_up()


def drips(*, body: bool) -> Fault:
    """Send a byte of the headers, or of the body, every 0.1 s."""

    def do(handler: FaultyHandler, asked: bytes) -> None:
        status, headers, content = handler.real_answer(asked)
        if body:
            handler.begin(status, {**headers, "Content-Length": str(len(content))})
        else:
            content = b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000
        for byte in content:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            if handler.server.closing.wait(0.1):
                break
        handler.hang_up()

    return do


def cuts(part: float, *, length: bool = True) -> Fault:
    """Send a part of the true answer and close, with or without telling the length before."""

    def do(handler: FaultyHandler, body: bytes) -> None:
        status, headers, content = handler.real_answer(body)
        told = {"Content-Length": str(len(content))} if length else {"Connection": "close"}
        handler.begin(status, {**headers, **told})
        handler.wfile.write(content[: int(len(content) * part)])
        handler.hang_up()

    return do


def rewrites(change: Callable[[bytes], bytes]) -> Fault:
    """Send the true answer, changed."""

    def do(handler: FaultyHandler, body: bytes) -> None:
        status, headers, content = handler.real_answer(body)
        handler._answer(status, headers, change(content))

    return do


def swallows(*, applied: bool) -> Fault:
    """Take a request, do what it asks for or not, and close without an answer."""

    def do(handler: FaultyHandler, body: bytes) -> None:
        if applied:
            handler.real_answer(body)
        handler.hang_up()

    return do


def endless(chunk: bytes, *, pause: float = 0) -> Fault:
    """Answer for ever, as fast as it is read or with pauses."""

    def do(handler: FaultyHandler, _: bytes) -> None:
        handler.begin(200, {"Content-Type": kind_of_content(handler), "Connection": "close"})
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and not handler.server.closing.is_set():
            handler.wfile.write(chunk)
            handler.server.sent += len(chunk)
            time.sleep(pause)
        handler.hang_up()

    return do


def slow(seconds: float, then: Fault) -> Fault:
    """Wait, then fail."""

    def do(handler: FaultyHandler, body: bytes) -> None:
        handler.server.closing.wait(seconds)
        then(handler, body)

    return do


def between(event: Callable[[], object]) -> Fault:
    """Let something happen while the request waits, then answer truly."""

    def do(handler: FaultyHandler, body: bytes) -> None:
        event()
        _Handler._serve(handler, body)

    return do


def packet(data: bytes) -> bytes:
    return b"%04x%s" % (len(data) + 4, data)


# --- the world --------------------------------------------------------------------------------

FILE, HTTP, OLD = "file", "http", "an old server"
TRANSPORTS = (FILE, HTTP, OLD)


@dataclass
class World:
    """The shop, reached by one transport; `server` is there for http."""

    root: Path
    transport: str
    text: str
    server: BadServer | None = None
    before: dict[str, str] = field(default_factory=dict)

    def load(self, **branches: str) -> None:
        """Configure the workspaces at the transport, with other branches than main."""
        text = self.text
        for name in ("dev", "staging", "prod"):
            place = f"{self.server.url}/{name}.git" if self.server else f"{name}.git"
            branch = json.dumps(branches.get(name, "main"))
            text = text.replace(
                f"repository: {name}.git", f"repository: {place}\n    branch: {branch}"
            )
        path = self.root / "dataops.yaml"
        path.write_text(text)
        made = [
            Workspace(self.root / f"{name}.git", self.root / f"{name}-clone")
            for name in ("dev", "staging", "prod")
        ]
        store = Store(self.root / "cache", "shop")
        self.shop = Shop(self.root, *made, config.load(path), store, Book())

    @property
    def dev(self) -> Workspace:
        return self.shop.dev

    @property
    def cache(self) -> Path:
        return self.shop.store.folder

    @property
    def staging(self) -> Workspace:
        return self.shop.staging

    def remember(self) -> None:
        """Take what the target holds now for unchanged."""
        self.before = refs(self.staging)

    def attempt(self, target: str = "staging", **more: object):
        """Promote; returns the answer or the error, which must be ours. The target is whole."""
        self.remember()
        try:
            answer = self.shop.promote(target, **more)
        except (ToolError, ConfigError) as error:
            answer = error
        self.is_whole(answer)
        return answer

    def is_whole(self, answer: object = None) -> None:
        """Assert that the target did not change, or has a head that its new release tag names."""
        after = refs(self.staging)
        if after == self.before:
            assert not isinstance(answer, Promoted), "said to be promoted, but is not"
            return
        changed = {name for name in after if after[name] != self.before.get(name)}
        heads = {name for name in changed if name.startswith("refs/heads/")}
        tags = {name for name in changed if name.startswith("refs/tags/dataops/shop/staging/")}
        assert changed == heads | tags, changed
        assert not self.before.keys() - after.keys(), "refs are gone"
        assert len(heads) == len(tags) == 1, f"half done: {changed}, {answer}"
        (head,), (tag,) = heads, tags
        named = git(self.staging.bare, "rev-parse", f"{tag}^{{commit}}")
        assert named == after[head], "the tag names another commit"
        git(self.staging.bare, "rev-list", "--objects", after[head])  # all of it is there
        assert not isinstance(answer, Rejected | Conflicted | Held | Raced), answer

    def promoted(self, **more: object) -> Promoted:
        """Promote, which must succeed."""
        answer = self.attempt(**more)
        assert isinstance(answer, Promoted), answer
        return answer

    def healed(self, attempts: int = 3) -> Promoted:
        """Promote, again where an attempt says that time may heal it."""
        for _ in range(attempts):
            answer = self.attempt()
            if isinstance(answer, Promoted):
                return answer
            assert isinstance(answer, ToolError), answer
            assert answer.retryable, answer
        raise AssertionError(f"not healed after {attempts} attempts: {answer}")


def refs(workspace: Workspace) -> dict[str, str]:
    """Return all refs of a workspace's repository."""
    listed = git(workspace.bare, "for-each-ref", "--format=%(refname) %(objectname)")
    return dict(line.split(" ") for line in listed.splitlines())


def make_world(root: Path, transport: str, template: Path) -> World:
    """Copy a template's dev and staging, reached by the transport."""
    for name in ("dev", "staging"):
        shutil.copytree(template / f"{name}.git", root / f"{name}.git", symlinks=True)
        shutil.copytree(template / f"{name}-clone", root / f"{name}-clone", symlinks=True)
        settings = root / f"{name}-clone" / ".git" / "config"
        settings.write_text(settings.read_text().replace(str(template), str(root)))
    server, text = None, SHOP
    if transport != FILE:
        server = BadServer(root, v2=transport == HTTP)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        text = text.replace("protocols: [file]", "protocols: [file, http]")
    made = World(root, transport, text, server)
    made.load()
    return made


FIRST, PROMOTED, GROWN = "first commits", "a promotion", "histories that went on"
"""What a template may hold; in the last one dev's next commit waits on the branch `next`."""


def make_template(root: Path, holds: str) -> Path:
    """Make a dev with a project and a staging of its own, promoted to before or not."""
    shop = make_shop(root)
    shop.dev.commit(PROJECT_FILES, "Initial commit")
    shop.staging.commit({"README.md": "# staging\n"}, "Initial commit")
    if holds != FIRST:
        assert isinstance(shop.promote("staging"), Promoted)
    if holds == GROWN:
        shop.staging.commit({"pipeline.yml": OURS}, "Own edit")
        for i in range(2):
            shop.dev.commit({"README.md": f"# dev {i}\n", "new.yml": f"{i}\n"})
        shop.dev.commit({"README.md": "# next\n"})
        git(shop.dev.bare, "branch", "next", "main")
        git(shop.dev.bare, "update-ref", "refs/heads/main", "main~1")
    for hooks in root.rglob("hooks"):
        shutil.rmtree(hooks)
        hooks.mkdir()
    return root


OURS = "source: users\ntarget: ours\n"
"""What staging changed on its own in the template `GROWN`."""


def processes_of(folder: Path) -> list[str]:
    """Return the git processes that work on something in the folder, by command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):  # nothing is found where there is no /proc
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            program = Path(os.fsdecode(command.split(b"\0")[0])).name
            about = command + (entry / "environ").read_bytes()
            if program.startswith("git") and os.fsencode(folder) in about:
                found.append(command.replace(b"\0", b" ").decode())
    return found


IN_A_CACHE = {
    *("HEAD", "config", "description", "info", "objects", "refs", "packed-refs", "logs"),
    *("hooks", "branches", "whole"),
}


@contextlib.contextmanager
def nothing_is_left(root: Path) -> Iterator[None]:
    """Assert that no process works on, and nothing temporary stands in, the caches below `root`."""
    yield
    end = time.monotonic() + 5
    while (left := processes_of(root)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left, left
    cache = root / "cache"
    if cache.exists():
        beside = {p.name for p in cache.iterdir()} - {"shop.git", "shop.git.lock"}
        assert not beside, beside
        inside = {p.name for p in (cache / "shop.git").glob("*")} - IN_A_CACHE
        assert not inside, inside
        temporary = ("tmp_*", "incoming-*", "*.lock", "*.temp")
        found = [p for pattern in temporary for p in (cache / "shop.git").rglob(pattern)]
        names = [str(p.relative_to(cache)) for p in found]
        assert not names, names


@contextlib.contextmanager
def within(seconds: float, slack: float = SLACK_SECONDS) -> Iterator[None]:
    """Assert that the deadline was kept, as far as a loaded machine can."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds + slack
