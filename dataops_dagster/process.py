"""The one door to outside programs: own environment, own process group, a deadline, bounded output.

Never inherits our environment, never lets a shell read a command, never leaves a process of the
group behind.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from dataops_dagster.errors import ToolError
from dataops_dagster.text import inert

GRACE_SECONDS = 5.0
"""How long a process group gets between the signal that asks it to end and SIGKILL."""

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""More output than this is a broken or hostile program: it is ended; what came before is kept."""

LINE_LIMIT_BYTES = 10_000
_CHUNK_BYTES = 65_536

_GUARD = """
wait_for_its_end() {
  left=$1
  while [ "$left" -gt 0 ] && kill -s 0 "$group"; do
    case $(cat "/proc/$group/stat") in *') Z '*) break ;; esac  # ended, and nobody took notice yet
    sleep 0.1
    left=$((left - 1))
  done
}
read -r group || exit
read -r _  # until all that could write is gone
wait_for_its_end "$1"
kill -s TERM -- "-$group"
wait_for_its_end "$2"
kill -s KILL -- "-$group"
"""
"""Ends the group that its first line names when we are gone: who is killed cannot clean up. The
others of a group have as long as the program takes to end."""

_HELD = 'read -r _ && exec "$@"'
"""Becomes the program when we say so: one that nobody guards yet must not begin. A shell adds PWD to
its environment, and passes on the variables that a shell can name."""

REDACTED = "*****"
SHORTEST_SECRET = 4

NEEDED_BY_PROGRAMS = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Names that say where programs and certificates are; no secret stands in them."""

SET_FOR_PROGRAMS = ("HOME", "LC_ALL")
"""Names that every program of a workspace gets a value of, whatever our own environment is."""


@dataclass(frozen=True)
class Completed:
    """How a program ended: its exit code, its output, and whether the deadline ended it.

    Output that `is_cut` was more than the limit; the rest of it is not known.
    """

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    is_cut: bool = False


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
    gently: signal.Signals = signal.SIGTERM,
    keep_open: Sequence[int] = (),
    umask: int = -1,
    memory: int | None = None,
    file_bytes: int | None = None,
    guarded: bool = False,
    survives: float = 0.0,
) -> Completed:
    """Run a program to its end, or to `deadline` seconds, and end all of its process group.

    A file as `stdin`, read from its beginning, or as `stdout`, written where it stands, is handed to
    the program as it is: its size does not matter then. With `on_line`, standard output and error
    become one stream whose inert, redacted lines are handed over as they come, and the program is
    `guarded`; without both are captured apart. A guarded program also ends when we are killed, and
    `survives` us so many seconds, in which it may end by itself; until then the descriptors `keep_open`
    stay open, though not to itself. Another one must wait for nobody:
    it is ended when it has computed for as long as its deadline. `gently` is the signal that asks the
    group to end before SIGKILL does. `umask` says what its files are withheld from, -1 that ours holds.
    Where the system can (Linux), each of its processes may have `memory` bytes, and no file that it
    writes more than `file_bytes`. Raises `ToolError` when the program cannot be started.
    """
    program, held, files = list(command), b"", tuple[int, ...]()
    if not isinstance(stdin, bytes):
        stdin.flush()
        os.lseek(stdin.fileno(), 0, os.SEEK_SET)
    if guarded := guarded or on_line is not None:
        _must_exist(command[0], env, cwd)
        how = _HELD
        if not isinstance(stdin, bytes):
            files, how = (stdin.fileno(),), f"{_HELD} </dev/fd/{stdin.fileno()}"
            stdin = b""
        program, held = ["/bin/sh", "-c", how, "sh", *command], b"\n"
    with contextlib.ExitStack() as stack:
        try:
            process = subprocess.Popen(
                program,
                cwd=cwd,
                env=dict(env),
                bufsize=0,
                stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
                stdout=stdout or subprocess.PIPE,
                stderr=subprocess.STDOUT if on_line else subprocess.PIPE,
                start_new_session=True,
                pass_fds=files,
                umask=umask,
            )
            if guarded:  # who is held ends by itself where it gets no guard
                guard = stack.enter_context(_guard(keep_open, survives))
                guard.write(b"%d\n" % process.pid)
        except OSError as error:
            # The folder may be what is missing; the error names it then.
            raise _not_started(command[0], f"{error.strerror}: {error.filename}") from None
        wanted = {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: file_bytes}
        bounds = {what: most for what, most in wanted.items() if most}
        if not guarded:
            # Nobody may be left to end it.
            bounds[resource.RLIMIT_CPU] = math.ceil(deadline) * (os.cpu_count() or 1)
        _bound(process.pid, bounds)
        given = held + stdin if isinstance(stdin, bytes) else None
        return _supervise(process, deadline, given, on_line, secrets, gently=gently)


@contextlib.contextmanager
def _guard(keep_open: Sequence[int], survives: float) -> Iterator[IO[bytes]]:
    """Start who outlives us; what is yielded takes the id of the group to end."""
    guard = subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            _GUARD,
            "sh",
            *(str(math.ceil(10 * s)) for s in (survives, GRACE_SECONDS)),
        ],
        env=environment((), {}),
        bufsize=0,
        stdin=subprocess.PIPE,  # its other end is held by us alone: it closes when we are killed
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=keep_open,
    )
    with guard:
        try:
            yield cast("IO[bytes]", guard.stdin)
        finally:
            guard.kill()  # before its input closes


def _bound(process: int, bounds: Mapping[int, int]) -> None:
    """Bound a program that has just begun, what it started, and so what they will start."""
    # Set from outside: between fork and exec, with threads about, nothing of ours may run.
    with contextlib.suppress(AttributeError, OSError):  # only Linux bounds what runs already
        for what, most in bounds.items():
            # What bounds us already is no wider for it.
            soft, hard = (
                most if limit == resource.RLIM_INFINITY else min(most, limit)
                for limit in resource.prlimit(process, what)
            )
            resource.prlimit(process, what, (soft, hard))
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            _bound(int(child), bounds)


def _must_exist(program: str, env: Mapping[str, str], cwd: Path | None) -> None:
    """Refuse a program that is not there: a shell in between would only say so in its output."""
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
    stdin: bytes | None,
    on_line: Callable[[str], None] | None,
    secrets: Iterable[str],
    *,
    gently: signal.Signals,
) -> Completed:
    stdout, stderr = _Collected(), _Collected()
    lines = _Lines(on_line, secrets) if on_line else None
    with contextlib.closing(_Supervisor(process, gently)) as supervisor:
        if process.stdin and stdin is not None:
            supervisor.feed(process.stdin, stdin)
        if process.stdout:
            supervisor.drain(process.stdout, lines.take if lines else stdout.take)
        if process.stderr:
            supervisor.drain(process.stderr, stderr.take)
        timed_out = not supervisor.wait(
            deadline, lambda: supervisor.has_exited() or stdout.is_cut or stderr.is_cut
        )
        supervisor.end_group()
        # Not for ever: a program that left the group may hold a pipe.
        supervisor.wait(1.0, supervisor.has_no_pipes)
    if lines:
        lines.end()
    return Completed(
        process.returncode,
        bytes(stdout.data),
        bytes(stderr.data),
        timed_out,
        is_cut=stdout.is_cut or stderr.is_cut,
    )


class _Supervisor:
    """Looks after a program and the pipes to it, all in the caller's thread."""

    def __init__(self, process: subprocess.Popen[bytes], gently: signal.Signals) -> None:
        self._process, self._gently = process, gently
        self._selector = selectors.PollSelector()  # takes no descriptor, so it cannot lack one
        with contextlib.suppress(AttributeError, OSError):  # only Linux wakes us at the exit
            self._selector.register(
                io.FileIO(os.pidfd_open(process.pid)), selectors.EVENT_READ, lambda: False
            )

    def close(self) -> None:
        """End the group, also on an interrupt of ours; nothing more is handed over."""
        for key in list(self._selector.get_map().values()):
            self._drop(key)
        self.end_group()

    def feed(self, stream: IO[bytes], data: bytes) -> None:
        """Write `data` when the program reads, then close its input."""
        os.set_blocking(stream.fileno(), False)
        rest = memoryview(data)

        def write() -> bool:
            nonlocal rest
            with contextlib.suppress(BrokenPipeError):
                rest = rest[stream.write(rest) or 0 :]
                return bool(rest)
            return False  # it reads no more

        self._selector.register(stream, selectors.EVENT_WRITE, write)

    def drain(self, stream: IO[bytes], take: Callable[[bytes], None]) -> None:
        """Hand what the program writes to `take`, as it comes."""

        def read() -> bool:
            chunk = stream.read(_CHUNK_BYTES)
            take(chunk)
            return bool(chunk)

        self._selector.register(stream, selectors.EVENT_READ, read)

    def wait(self, seconds: float, is_over: Callable[[], bool]) -> bool:
        """Move what comes and goes until `is_over`; False when `seconds` pass before that."""
        end = time.monotonic() + seconds
        while not is_over():
            left = end - time.monotonic()
            if left <= 0:
                return False
            # Where nothing wakes us at the exit: a program that closed its pipes is about to end.
            pause = 0.001 if self.has_no_pipes() else 0.05
            for key, _ in self._selector.select(min(left, pause)):
                if not key.data():
                    self._drop(key)
        return True

    def has_no_pipes(self) -> bool:
        """Say whether all was moved that there was to move."""
        return not self._selector.get_map()

    def has_exited(self) -> bool:
        """Look without reaping, so that the group id cannot be reused before we end the group."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, how) is not None

    def end_group(self) -> None:
        """End the program, gently first, and all that is left of its group."""
        if self._process.returncode is not None:
            return  # ended and reaped before; its id may be another's now
        if not self.has_exited():
            self._signal(self._gently)
            self.wait(GRACE_SECONDS, self.has_exited)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _drop(self, key: selectors.SelectorKey) -> None:
        self._selector.unregister(key.fileobj)
        cast("IO[bytes]", key.fileobj).close()


class _Collected:
    """What a program wrote, up to the limit."""

    def __init__(self) -> None:
        self.data, self.is_cut = bytearray(), False

    def take(self, chunk: bytes) -> None:
        """Keep the next of the output, as far as there is room."""
        room = OUTPUT_LIMIT_BYTES - len(self.data)
        self.data += chunk[:room]
        self.is_cut = self.is_cut or len(chunk) > room


class _Lines:
    """Hands output over in lines, inert and without secrets; what never ends its line in pieces."""

    def __init__(self, on_line: Callable[[str], None], secrets: Iterable[str]) -> None:
        self._on_line, self._secrets = on_line, tuple(secrets)
        # A piece of an unended line may end within a secret: that much waits for the next piece.
        self._withheld = max(map(len, self._secrets), default=1) - 1
        self._bytes, self._text = b"", ""

    def take(self, chunk: bytes) -> None:
        """Hand over the lines that end in `chunk`, the next of the output."""
        stream, self._bytes = io.BytesIO(self._bytes + chunk), b""
        while piece := stream.readline(LINE_LIMIT_BYTES):
            is_ended = piece.endswith(b"\n")
            if not is_ended and len(piece) < LINE_LIMIT_BYTES:
                self._bytes = piece
                return
            text = self._text + piece.decode("utf-8", "replace").rstrip("\r\n")
            text = clean(text, self._secrets)
            cut = len(text) if is_ended else max(0, len(text) - self._withheld)
            self._text = text[cut:]
            self._on_line(text[:cut])

    def end(self) -> None:
        """Hand over what is left: the end of the output ends its line."""
        if self._bytes or self._text:
            self.take(b"\n")
