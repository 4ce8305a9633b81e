"""The one door to `tb`: a private home, an environment from nothing, no secret in argv or output.

Tokens reach it in its environment only. Nothing of what it prints makes a success: that takes its
exit code, and what the API says.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from dataops_dagster import process
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.spellings import all_spellings

TESTED: Mapping[Dialect, tuple[str, tuple[int, int, int], tuple[int, int, int]]] = {
    Dialect.FORWARD: ("tinybird==5.0.2", (5, 0, 0), (5, 1, 0)),
    Dialect.CLASSIC: ("tinybird-cli==6.5.5", (6, 5, 0), (6, 6, 0)),
}
"""What to install for each dialect, and which versions of it we know: from, and below."""

_VERSION_SECONDS = 60.0
_WINDOW = 8
_LONG_SECRET = 32
_LINES = 20_000
PROXIES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "no_proxy", "NO_PROXY")
"""What tb gets of our environment; there may be logins in it."""

TOKEN = "TB_TOKEN"  # noqa: S105  # its name
"""The variable in which tb gets a token."""

_SETTINGS = {
    "TB_VERSION_WARNING": "0",
    "TB_CLI_TELEMETRY_OPTOUT": "1",
    "CI": "1",
    "NO_COLOR": "1",
    "COLUMNS": "200",
}


@dataclass(frozen=True)
class Ended:
    """How a call of tb ended: its exit code, the last of its lines, and whether time was up."""

    code: int
    lines: Sequence[str]
    timed_out: bool

    @property
    def passed(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0 and not self.timed_out

    @property
    def told(self) -> str:
        """The end of what it printed, in one line."""
        if self.timed_out:
            return "it was ended at its deadline"
        said = [line.strip() for line in self.lines if line.strip()]
        return " / ".join(said[-3:])[:900] or f"it ended with exit code {self.code}"

    def document(self) -> Mapping[str, Any]:
        """Return the JSON document among what it printed; empty when there is none."""
        begin = next((i for i, line in enumerate(self.lines) if line.startswith("{")), None)
        if begin is None:
            return {}
        rest = list(self.lines)[begin:]
        end = max((i for i, line in enumerate(rest) if line.startswith("}")), default=0)
        try:
            # A long line comes in pieces: a break within a text is no mistake then.
            found = json.loads("\n".join(rest[: end + 1]), strict=False)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Tb:
    """A `tb` and what all its calls share.

    `environment` is added to an environment made from nothing, with the variables `allowed`;
    `secrets` are values of it that never stand in arguments. They, and the values of what is
    allowed, are taken out of what is printed. `end` is in seconds of the
    monotonic clock; `where` is the key of the configuration that names the executable.
    """

    executable: str
    dialect: Dialect
    where: str
    folder: Path
    home: Path
    end: float
    on_line: Callable[[str], None]
    environment: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    allowed: tuple[str, ...] = ()

    def run(self, *arguments: str, stdin: str = "") -> Ended:
        """Run a command of tb in the data project's folder; hands its lines on as they come."""
        return self._run(arguments, self.on_line, stdin=stdin)

    def ask(self, *arguments: str) -> Ended:
        """Run a command of tb for what it prints; nothing of it is handed on."""
        return self._run(arguments, lambda _: None)

    def _run(
        self, arguments: Sequence[str], on_line: Callable[[str], None], stdin: str = ""
    ) -> Ended:
        command = [self.executable, *arguments]
        if any(secret in word for secret in self.secrets for word in command):
            raise ToolError("tb", None, "a secret stands among its arguments", hint="report this")
        if any(word in ("--debug", "--show-tokens") for word in command):
            raise ToolError("tb", None, "it would print tokens", hint="report this")
        lines = deque[str](maxlen=_LINES)
        folders = {"HOME": str(self.home), "TMPDIR": str(self.home)}

        def note(line: str) -> None:
            lines.append(line)
            on_line(line)

        done = process.run(
            command,
            env=process.environment(
                (*PROXIES, *self.allowed),
                {**_SETTINGS, **folders, **self.environment},
            ),
            cwd=self.folder,
            deadline=max(1.0, self.end - time.monotonic()),
            stdin=stdin.encode(),
            on_line=note,
            secrets=[*forms(self.secrets), *all_spellings([*self.secrets, *self._hidden()])],
            umask=0o077,  # it writes files with tokens, and lets everybody read them
            gently=signal.SIGINT,  # at which Forward takes its deployment back; SIGTERM leaves it
        )
        return Ended(done.code, list(lines), done.timed_out)

    def _hidden(self) -> list[str]:
        """Return values of the user's own that may be secret: variables, and logins to proxies."""
        given = [os.environ.get(name, "") for name in self.allowed]
        return given + [url for name in PROXIES if "@" in (url := os.environ.get(name, ""))]

    def check_version(self) -> str:
        """Return the version; raises `ConfigError` for one that we do not know."""
        package, first, beyond = TESTED[self.dialect]
        hint = (
            f"install it into a virtual environment of its own (uv venv FOLDER; uv pip install"
            f" --python FOLDER {package}), and set {self.where}: FOLDER/bin/tb"
        )
        try:
            done = self.ask("--version")
        except ToolError as error:
            raise ConfigError.at(self.where, f"cannot be started: {error.tail}", hint) from None
        found = re.search(r"version (\d+)\.(\d+)\.(\d+)", " ".join(done.lines))
        if not done.passed or not found:
            raise ConfigError.at(self.where, "does not say which version it is", hint)
        version = (int(found[1]), int(found[2]), int(found[3]))
        if not first <= version < beyond:
            wanted = f"{'.'.join(map(str, first))} or newer, below {'.'.join(map(str, beyond))}"
            problem = f"is version {found[0].partition(' ')[2]}; for {self.dialect.value} we know {wanted}"
            raise ConfigError.at(self.where, problem, hint)
        return found[0].partition(" ")[2]


def forms(secrets: Sequence[str]) -> list[str]:
    """Return the secrets as they may stand in output: plain, in URLs, in capitals, masked to a part.

    Tinybird's command lines mask a token to its first or last letters; of a long one each part of
    eight letters is taken for it.
    """
    found = []
    for secret in (form for given in secrets for form in (given, given.upper(), given.lower())):
        found += [secret, quote(secret, safe=""), quote_plus(secret)]
        if len(secret) >= _LONG_SECRET:
            found += [secret[i : i + _WINDOW] for i in range(len(secret) - _WINDOW + 1)]
    return list(dict.fromkeys(found))


def local_address(url: str) -> dict[str, str]:
    """Return the variables that tell tb where Tinybird Local is."""
    parts = urlsplit(url)
    return {"TB_LOCAL_HOST": parts.hostname or "", "TB_LOCAL_PORT": str(parts.port)}
