"""Dagster's own processes for the demo: started as a user would, ended with all they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

_GRACE_SECONDS = 15.0
DEFINITIONS = "dataops_dagster.orchestration.definitions"


def program(name: str) -> str:
    """Return a command of our own virtual environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


@contextlib.contextmanager
def running(*command: str, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a process running for a block; afterwards it and its whole group are gone."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: asked first, so that run workers can end what they started."""
    with _uninterrupted(), contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        limit = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < limit:
            process.poll()
            os.killpg(process.pid, 0)  # raises when nobody is left
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C stop us from cleaning up."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
