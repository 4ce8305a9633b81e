"""Installs a command line into a virtual environment of its own, outside of any project."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dataops_dagster import process
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder

_INSTALL_SECONDS = 600.0


@dataclass(frozen=True)
class Tool:
    """A command line: its program, what is installed for it, and the variable that names another.

    `folder` is the name of its virtual environment; `python` makes that, our own by default.
    `locked` is a file of requirements with their hashes: nothing else is installed then.
    """

    program: str
    requirement: str
    folder: str
    variable: str
    python: str = sys.executable
    locked: Path | None = None

    def command(self, on_line: Callable[[str], None], *, tools: Path | None = None) -> str:
        """Return the path of the program, installing it when it is not there.

        It is looked for below `tools`, by default a folder in the cache folder.
        Never installs into our own environment: a tool's requirements would pull Dagster's down.
        Raises `ToolError` when it cannot be installed.
        """
        given = os.environ.get(self.variable)
        if given:
            return given
        folder = (tools or cache_folder() / "tools") / self.folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock", timeout=_INSTALL_SECONDS):
            if not (folder / "complete").exists():
                self._install(folder, on_line)
        return str(folder / "bin" / self.program)

    def _install(self, folder: Path, on_line: Callable[[str], None]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        python = str(folder / "bin" / "python")
        wanted = [self.requirement]
        if self.locked:
            wanted = ["--require-hashes", f"--requirement={self.locked}"]
        uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
        # Compiled once here; otherwise each call of the program would compile it anew.
        if uv:
            self._run([uv, "venv", "--quiet", "--python", self.python, str(folder)], on_line)
            self._run([uv, "pip", "install", "--quiet", "--compile-bytecode",
                       f"--python={python}", *wanted], on_line)  # fmt: skip
        else:
            self._run([self.python, "-m", "venv", str(folder)], on_line)
            self._run([python, "-m", "pip", "install", "--quiet", "--compile",
                       *wanted], on_line)  # fmt: skip
        (folder / "complete").touch()

    def _run(self, arguments: list[str], on_line: Callable[[str], None]) -> None:
        # An installer needs the user's own settings: index, proxy, certificates.
        allowed = [name for name in os.environ if name != "PYTHONDONTWRITEBYTECODE"]
        last: list[str] = []

        def note(line: str) -> None:
            last[:] = [*last[-20:], line]
            on_line(line)

        env = process.environment(allowed, {"UV_SYSTEM_CERTS": "true"})
        done = process.run(arguments, env=env, deadline=_INSTALL_SECONDS, on_line=note)
        if done.code:
            hint = f"set {self.variable} to the path of {self.requirement}'s {self.program}"
            raise ToolError(" ".join(arguments), done.code, "\n".join(last), hint=hint)
