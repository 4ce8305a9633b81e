"""The one door to outside programs: own environment, own process group, a deadline, bounded output.

Never inherits our environment, never uses a shell, never leaves a process of the group behind.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from dataops_dagster.errors import ToolError
from dataops_dagster.text import inert

GRACE_SECONDS = 5.0
"""How long a process group gets between SIGTERM and SIGKILL."""

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""More output than this is a broken or hostile program; what came before it is kept."""

LINE_LIMIT_BYTES = 10_000
_GUARD = str(Path(__file__).with_name("guard.py"))
REDACTED = "*****"
SHORTEST_SECRET = 4

NEEDED_BY_PROGRAMS = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Names that say where programs and certificates are; no secret stands in them."""


@dataclass(frozen=True)
class Completed:
    """How a program ended: its exit code, its output, and whether the deadline ended it."""

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


def environment(allow: Iterable[str], values: Mapping[str, str]) -> dict[str, str]:
    """Build a child's environment from nothing: what programs need, `allow`ed names, `values`."""
    names = (*NEEDED_BY_PROGRAMS, *allow)
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    return {"LC_ALL": "C.UTF-8", **inherited, **values}


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret value in `text`; very short values are taken for no secrets."""
    long_first = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)
    for secret in long_first:
        text = text.replace(secret, REDACTED)
    return text


def clean(text: str, secrets: Iterable[str]) -> str:
    """Return text that may be shown: inert, and without any of the secrets' values."""
    secrets = tuple(secrets)
    return redact(inert(text), [*secrets, *map(inert, secrets)])


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    deadline: float,
    cwd: Path | None = None,
    stdin: bytes | IO[bytes] = b"",
    stdout: IO[bytes] | None = None,
    on_line: Callable[[str], None] | None = None,
    secrets: Iterable[str] = (),
) -> Completed:
    """Run a program to its end, or to `deadline` seconds, and end all of its process group.

    A file as `stdin`, read from its beginning, or as `stdout`, written where it stands, is handed to
    the program as it is: its size does not matter then. With `on_line`, standard output and error become one stream whose inert,
    redacted lines are handed over as they come, and the program also ends when we are killed;
    without it both are captured apart. Raises `ToolError` when the program cannot be started.
    """
    with contextlib.ExitStack() as stack:
        guarded, lifeline = list(command), tuple[int, ...]()
        if on_line:
            _must_exist(command[0], env, cwd)
            read, write = os.pipe()
            stack.callback(os.close, write)  # held by us alone: it closes when we are killed, too
            stack.callback(os.close, read)
            lifeline = (read,)
            guarded = [sys.executable, "-I", "-S", _GUARD, str(read), f"{GRACE_SECONDS}", *command]
        if not isinstance(stdin, bytes):
            stdin.flush()
            os.lseek(stdin.fileno(), 0, os.SEEK_SET)
        try:
            process = subprocess.Popen(
                guarded,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.STDOUT if on_line else subprocess.PIPE,
                start_new_session=True,
                pass_fds=lifeline,
            )
        except OSError as error:
            # The folder may be what is missing; the error names it then.
            raise _not_started(command[0], f"{error.strerror}: {error.filename}") from None
        return _supervise(process, deadline, stdin, on_line, secrets)


def _must_exist(program: str, env: Mapping[str, str], cwd: Path | None) -> None:
    """Refuse a program that is not there: a guard in between would only say so in its output."""
    if os.sep in program:
        found = os.access((cwd or Path.cwd()) / program, os.X_OK)
    else:
        found = shutil.which(program, path=env.get("PATH")) is not None
    if not found:
        raise _not_started(program, f"No such program: {program}")


def _not_started(program: str, problem: str) -> ToolError:
    return ToolError(program, None, problem, hint="is it installed, and may it be executed?")


def _supervise(
    process: subprocess.Popen[bytes],
    deadline: float,
    stdin: bytes | IO[bytes],
    on_line: Callable[[str], None] | None,
    secrets: Iterable[str],
) -> Completed:
    stdout, stderr = bytearray(), bytearray()
    lines: queue.Queue[tuple[str, bool]] = queue.Queue(maxsize=1000)
    readers = []
    if process.stdin:
        if stdin:
            readers.append(threading.Thread(target=_feed, args=(process.stdin, stdin)))
        else:
            process.stdin.close()
    if on_line:
        readers.append(threading.Thread(target=_split, args=(process.stdout, lines)))
    else:
        for stream, into in ((process.stdout, stdout), (process.stderr, stderr)):
            if stream:
                readers.append(threading.Thread(target=_collect, args=(stream, into)))
    for reader in readers:
        reader.daemon = True
        reader.start()
    hand_over = _handing_over(lines, on_line, secrets) if on_line else None
    try:
        timed_out = not _wait_for_exit(process, deadline, hand_over)
        _end_group(process)
        _join(readers, hand_over)
    finally:
        # Also on an interrupt of ours: whatever happens, the group ends with this call.
        _end_group(process)
        _join(readers, lambda: _discard(lines))
    return Completed(process.returncode, bytes(stdout), bytes(stderr), timed_out)


def _handing_over(
    lines: queue.Queue[tuple[str, bool]], on_line: Callable[[str], None], secrets: Iterable[str]
) -> Callable[[], None]:
    """Return what hands waiting lines over, in the caller's thread, inert and without secrets."""
    secrets = tuple(secrets)
    # A piece of an unended line may end within a secret: that much waits for the next piece.
    withheld = max(map(len, secrets), default=1) - 1
    waiting = ""

    def hand_over() -> None:
        nonlocal waiting
        while not lines.empty():
            text, ended = lines.get()
            text = clean(waiting + text, secrets)
            cut = len(text) if ended else max(0, len(text) - withheld)
            waiting = text[cut:]
            on_line(text[:cut])

    return hand_over


def _join(readers: Sequence[threading.Thread], meanwhile: Callable[[], None] | None) -> None:
    """Wait for what reads the output, but not for ever: a program that left may hold the pipe."""
    end = time.monotonic() + 1.0
    for reader in readers:
        while reader.is_alive() and time.monotonic() < end:
            if meanwhile:
                meanwhile()
            reader.join(0.001 if meanwhile else end - time.monotonic())
    if meanwhile:
        meanwhile()


def _discard(lines: queue.Queue[tuple[str, bool]]) -> None:
    while not lines.empty():
        lines.get()


def _wait_for_exit(
    process: subprocess.Popen[bytes],
    deadline: float,
    meanwhile: Callable[[], None] | None = None,
) -> bool:
    """Wait without reaping, so that the group id cannot be reused before we end the group."""
    if meanwhile is None and hasattr(os, "pidfd_open"):
        return _wait_for_pidfd(process.pid, deadline)
    end, pause = time.monotonic() + deadline, 0.0005
    while not _has_exited(process):
        if meanwhile:
            meanwhile()
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)
    return True


def _wait_for_pidfd(pid: int, deadline: float) -> bool:
    """Wait as Linux can: woken at the exit, where looking again and again comes late."""
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(deadline * 1000))
    finally:
        os.close(descriptor)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return  # ended and reaped before; its id may be another's now
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not _has_exited(process):
            os.killpg(process.pid, signal.SIGTERM)
            _wait_for_exit(process, GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _collect(stream: BufferedReader, into: bytearray) -> None:
    with stream:
        while chunk := stream.read1(65536):
            into.extend(chunk[: max(0, OUTPUT_LIMIT_BYTES - len(into))])


def _split(stream: IO[bytes], into: queue.Queue[tuple[str, bool]]) -> None:
    with stream:
        # readline's limit bounds memory when a program never ends its line.
        while chunk := stream.readline(LINE_LIMIT_BYTES):
            ended = chunk.endswith(b"\n") or len(chunk) < LINE_LIMIT_BYTES
            into.put((chunk.decode("utf-8", "replace").rstrip("\r\n"), ended))


def _feed(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(data)
