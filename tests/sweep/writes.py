"""Kills the process that it is in just before its N-th write to a file, or to a database."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from sqlite3 import Connection, dbapi2

_CHANGES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
)
_STATEMENTS = ("INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT")
_WRITING = os.O_WRONLY | os.O_RDWR


class Writes:
    """Counts the writes below a folder, and strikes at the one of number `at`, if any.

    Of a file that is `torn` there is nothing but its name: it was opened, and not written.
    """

    def __init__(self, root: Path, mark: Path, *, at: int, torn: bool) -> None:
        self.root, self.mark, self.at, self.torn = f"{root}/", mark, at, torn
        self.seen: list[str] = []
        self.is_listening = True

    def listen(self) -> None:
        """Begin to count; an audit hook stays as long as the process."""
        sys.addaudithook(self._hear)
        # There is an audit event for a connection, but none for a statement.
        dbapi2.connect = self._connected(dbapi2.connect)

    def _connected(self, connect: Callable[..., Connection]) -> Callable[..., Connection]:
        def traced(*given: object, **more: object) -> Connection:
            connection = connect(*given, **more)
            connection.set_trace_callback(self._hear_statement)
            return connection

        return traced

    def _hear(self, event: str, given: Sequence[object]) -> None:
        if not self.is_listening:
            return
        if event in _CHANGES:
            path = given[1] if event in ("os.rename", "os.link", "os.symlink") else given[0]
            self._note(event, path)
        elif event == "open" and isinstance(given[2], int) and given[2] & _WRITING:
            self._note(event, given[0], flags=given[2])

    def _hear_statement(self, statement: str) -> None:
        if self.is_listening and statement.lstrip().upper().startswith(_STATEMENTS):
            self._count(" ".join(statement.split())[:60])

    def _note(self, event: str, path: object, *, flags: int = 0) -> None:
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        # What is named by a folder's descriptor is ours, too: nobody else removes trees here.
        if name.startswith(self.root) or (name and name[0] != "/"):
            self._count(f"{event} {name.removeprefix(self.root)}", name, flags)

    def _count(self, what: str, path: str = "", flags: int = 0) -> None:
        self.seen.append(what)
        if len(self.seen) != self.at:
            return
        self.is_listening = False
        self.mark.touch()
        if self.torn and flags:
            os.open(path, flags, 0o600)
        os.kill(os.getpid(), signal.SIGKILL)
