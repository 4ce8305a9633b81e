"""Looks for secrets by their value in all that was said and left: arguments, files, databases, git."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from tests.repositories import ENVIRONMENT

SHORTEST = 20
"""A secret of a test is at least so long: what base64 makes of a part of it is still its own."""


@dataclass
class Watch:
    """Reads the arguments of every process, and the files below a folder, as long as it lasts.

    `children` are the arguments and the environment of what this process itself started: all of them.
    """

    folder: Path
    pause: float = 0.01
    arguments: set[bytes] = field(default_factory=set)
    children: list[tuple[list[str], Mapping[str, str]]] = field(default_factory=list)
    files: dict[Path, bytes] = field(default_factory=dict)
    looks: int = 0
    is_over: bool = False
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def look(self) -> None:
        while not self.is_over:
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.arguments.add(entry.read_bytes())
            self.read_files()
            self.looks += 1
            time.sleep(self.pause)

    def read_files(self) -> None:
        """Read each file that is new or has changed."""
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    if self._seen.get(path) != (status.st_mtime_ns, status.st_size):
                        self.files[path] = path.read_bytes()
                        self._seen[path] = (status.st_mtime_ns, status.st_size)

    def holds(self, part: bytes) -> list[object]:
        """Return the arguments and the files in which something stands."""
        files = [path for path, data in self.files.items() if part in data]
        return [*(a for a in self.arguments if part in a), *files]


_watches: list[Watch] = []


def _note(event: str, given: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and _watches:
        _, arguments, _, env = given
        words = [arguments] if isinstance(arguments, (str, bytes)) else list(arguments)
        for watch in _watches:
            watch.children.append((list(map(os.fsdecode, words)), dict(env or os.environ)))
            watch.arguments.add(b"\0".join(map(os.fsencode, words)))


_hooked: list[bool] = []


@contextlib.contextmanager
def watched(folder: Path, pause: float = 0.01) -> Iterator[Watch]:
    """Watch during a block."""
    if not _hooked:
        sys.addaudithook(_note)  # stays for as long as the process
        _hooked.append(True)
    watch = Watch(folder, pause)
    thread = threading.Thread(target=watch.look)
    _watches.append(watch)
    thread.start()
    try:
        yield watch
    finally:
        _watches.remove(watch)
        watch.is_over = True
        thread.join()
    watch.read_files()


# --- what is looked for ---------------------------------------------------------------------------


def forms(secret: str) -> set[bytes]:
    """Return a secret as it may be spelled, and each of its lines as well."""
    lines = [line for line in secret.splitlines() if len(line) >= SHORTEST]
    return set().union(*map(_forms, {secret, *lines}))


def _forms(secret: str) -> set[bytes]:
    assert len(secret) >= SHORTEST
    plain = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)]
    plain += [json.dumps(secret)[1:-1], repr(secret)[1:-1], secret.encode().hex()]
    encoded = []
    for before in range(3):
        letters = base64.b64encode(b"x" * before + secret.encode())
        # The first and the last group of four letters also hold what stands around.
        core = letters[4 if before else 0 : -4]
        encoded += [core, core.replace(b"+", b"-").replace(b"/", b"_")]
    return {*(form.encode() for form in plain), *encoded, secret.encode("utf-16-le")}


# --- where it is looked for -----------------------------------------------------------------------


def left_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield all that is below a folder: files as they are, what databases compress, git's objects."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
        if path.suffix == ".db" and path.is_file():
            yield from _compressed(path)
        if path.name == "objects" and (path.parent / "HEAD").is_file():
            yield f"git objects of {path.parent}", objects_of(path.parent)


def _compressed(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what stands compressed in a database of SQLite's, such as Dagster's snapshots."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        for (table,) in base.execute("select name from sqlite_master where type = 'table'"):
            for row in base.execute(f'select * from "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        with contextlib.suppress(zlib.error):
                            yield f"compressed in {table} of {path}", zlib.decompress(value)


def objects_of(repository: Path) -> bytes:
    """Return all objects of a repository: contents, trees, commits with their messages, tags."""
    words = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    done = subprocess.run(
        words,
        env={**ENVIRONMENT, "GIT_DIR": str(repository)},
        capture_output=True,
        check=True,
    )
    return done.stdout


def told_by(error: BaseException | None) -> str:
    """Return all that an exception holds: words, arguments, attributes, and those behind it."""
    told, seen = [], set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told += [str(error), repr(error), repr(error.args), repr(vars(error))]
        told += traceback.format_exception(error)
        # What `from None` hides is told by nobody.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(told)


def found(secrets: Mapping[str, str], sinks: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return which secret stands in which sink."""
    wanted = {name: forms(secret) for name, secret in secrets.items()}
    return [
        f"{name} in {sink}: {data[max(0, data.find(form) - 60) :][:140]!r}"
        for sink, data in sinks
        for name, spelled in wanted.items()
        for form in spelled
        if form in data
    ]
