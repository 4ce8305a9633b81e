"""Children of a benchmark: started apart from the terminal, measured, and never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
_GRACE_SECONDS = 20
_AGAIN_SECONDS = 0.05
_INTERRUPTED = 130


@dataclass(frozen=True)
class Cost:
    """What something took: seconds on the clock, and of processors in it and its children."""

    seconds: float
    cpu: float


def timed(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Cost:
    """Run a program to its end and return what it took; raises when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr
    with process.stderr, _ended_with_us(process):
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {said.decode('utf-8', 'replace')}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime)


@contextlib.contextmanager
def _ended_with_us(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


@contextlib.contextmanager
def child(
    module: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a module of ours that ends with its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmark, which ends us in order
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """End everything and remove it also when we are interrupted or terminated."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    def unheard(what: sys.UnraisableHookArgs) -> None:
        # It came while an object was being collected, where Python lets nothing be raised.
        if issubclass(what.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            sys.__unraisablehook__(what)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGALRM, interrupt)
    sys.unraisablehook = unheard
    try:
        yield
    except KeyboardInterrupt:
        print("ended; no process is left")
        sys.exit(_INTERRUPTED)
