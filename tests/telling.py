"""The demo as a user starts it, what it may listen on, and who of it still runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def processes_of(home: Path) -> list[str]:
    """Return the command lines of processes that know the home in environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if str(home).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it ended while we looked
    return found


def wait_for(what: str, look: Callable[[], Any], seconds: float = 300) -> Any:
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, f"{what} did not happen"
        time.sleep(0.2)
    return found


def demo(home: Path, meltano_command: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo as a user does."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "dataops"), "demo", "--home", str(home), *arguments],
        env={**os.environ, "DATAOPS_MELTANO": meltano_command, "PYTHONDONTWRITEBYTECODE": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def unused_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
