"""Finds the Meltano command line, or installs it into a virtual environment of its own."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from dataops_dagster import process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder

REQUIREMENT = "meltano>=4.4,<5"
_INSTALL_SECONDS = 600.0


def command(on_line: Callable[[str], None]) -> str:
    """Return the path of the meltano command, installing it when it is not there.

    `DATAOPS_MELTANO` names another one. Never installs into our own environment: Meltano's
    requirements would pull Dagster's down. Raises `ToolError` when it cannot be installed.
    """
    given = os.environ.get("DATAOPS_MELTANO")
    if given:
        return given
    folder = cache_folder() / "tools" / "meltano-4"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock", timeout=_INSTALL_SECONDS):
        if not (folder / "complete").exists():
            _install(folder, on_line)
    return str(folder / "bin" / "meltano")


def _install(folder: Path, on_line: Callable[[str], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = str(folder / "bin" / "python")
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    # Compiled once here; otherwise each call of meltano would compile it anew.
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], on_line)
        _run([uv, "pip", "install", "--quiet", "--compile-bytecode", f"--python={python}",
              REQUIREMENT], on_line)  # fmt: skip
    else:
        _run([sys.executable, "-m", "venv", str(folder)], on_line)
        _run([python, "-m", "pip", "install", "--quiet", "--compile", REQUIREMENT], on_line)
    (folder / "complete").touch()


def _run(arguments: list[str], on_line: Callable[[str], None]) -> None:
    # An installer needs the user's own settings: index, proxy, certificates.
    allowed = [name for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"]
    last: list[str] = []

    def note(line: str) -> None:
        last[:] = [*last[-20:], line]
        on_line(line)

    env = process.environment(allowed, {"UV_SYSTEM_CERTS": "true"})
    done = process.run(arguments, env=env, deadline=_INSTALL_SECONDS, on_line=note)
    if done.code:
        raise ToolError(
            " ".join(arguments),
            done.code,
            "\n".join(last),
            hint="set DATAOPS_MELTANO to the path of a meltano 4 command",
        )
