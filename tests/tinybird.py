"""What tests of Tinybird share: both real command lines, a small data project, and plain requests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import urllib3

from dataops_dagster.demo.tools import Tool
from dataops_dagster.errors import ToolError
from dataops_dagster.folders import cache_folder
from dataops_dagster.testing.tinybird import Dialect

PROJECT = Path(__file__).parent / "tinybird_project"
PIPES = {"busiest_stations", "count_rides", "long_rides", "rides_by_day", "rides_by_district"}
SOURCES = {"rides", "rides_per_day", "stations"}
VARIABLES = {Dialect.FORWARD: "DATAOPS_TB_FORWARD", Dialect.CLASSIC: "DATAOPS_TB_CLASSIC"}
TESTED = {Dialect.FORWARD: "tinybird==5.0.2", Dialect.CLASSIC: "tinybird-cli==6.5.5"}
SERVES = {Dialect.FORWARD: ((3, 11), (3, 14)), Dialect.CLASSIC: ((3, 10), (3, 14))}
"""The first Python that a command line runs on, and the first that it does not run on any more."""


TOOLS = cache_folder() / "tools"
"""Where the tools of all tests are: asked before each test gets a cache folder of its own."""
LOCKED = Path(__file__).parents[1] / "locked"


@cache
def tb_command(dialect: Dialect) -> str:
    """Return the path of a real `tb`; it is installed when it is not there and not named."""
    variable, requirement = VARIABLES[dialect], TESTED[dialect]
    if variable in os.environ:
        return os.environ[variable]
    folder = requirement.replace("==", "-")
    locked = LOCKED / f"{requirement.split('==')[0]}.txt"
    tool = Tool("tb", requirement, folder, variable, python=find_python(dialect), locked=locked)
    return tool.command(print, tools=TOOLS)


def find_python(dialect: Dialect) -> str:
    """Return a Python that a dialect's command line runs on; ours, if it will do."""
    first, end = SERVES[dialect]
    names = [f"python3.{minor}" for minor in range(end[1] - 1, first[1] - 1, -1)]
    for candidate in [sys.executable, *filter(None, map(shutil.which, names))]:
        if first <= version_of(candidate) < end:
            return candidate
    raise ToolError(
        "tb",
        1,
        f"{TESTED[dialect]} needs Python 3.{first[1]} to 3.{end[1] - 1}; there is none on PATH",
        hint=f"install one, or set {VARIABLES[dialect]} to the path of a tb that is installed",
    )


def version_of(python: str) -> tuple[int, int]:
    """Return the version of an interpreter; one that does not start has version 0.0."""
    script = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    major, minor = done.stdout.split() if done.returncode == 0 else (0, 0)
    return int(major), int(minor)


def make_project(folder: Path, dialect: Dialect) -> Path:
    """Copy the data project; Classic keeps fixtures elsewhere, and has tests of its own kind."""
    shutil.copytree(PROJECT, folder)
    if dialect is Dialect.CLASSIC:
        (folder / "fixtures").rename(folder / "datasources" / "fixtures")
        shutil.rmtree(folder / "tests")
        (folder / "classic").rename(folder / "tests")
    else:
        shutil.rmtree(folder / "classic")
    return folder


def make_prefixed(folder: Path, project: Path, *prefixes: str) -> Path:
    """Copy a data project with its fixtures under each prefix, as one workspace held it all once."""
    reads = re.compile(rf"\b(FROM|JOIN|DATASOURCE) ({'|'.join(SOURCES)})\b")
    for file in sorted(project.rglob("*.*")):
        if file.suffix in (".datasource", ".pipe", ".csv"):
            there = folder / file.relative_to(project).parent
            there.mkdir(parents=True, exist_ok=True)
            for prefix in prefixes:
                text = reads.sub(rf"\1 {prefix}\2", file.read_text())
                (there / f"{prefix}{file.name}").write_text(text)
    return folder


@dataclass(frozen=True)
class Tb:
    """A real `tb` in a folder, against a host; nothing of its own is left behind.

    `local` is where its `--local` leads; without it that is the host, too.
    """

    command: str
    host: str
    folder: Path
    local: str = ""

    def __call__(
        self, token: str, *arguments: str, user_token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; the user token also comes by standard input, where Classic asks for it."""
        with tempfile.TemporaryDirectory() as home:
            done = subprocess.run(
                [self.command, *arguments],
                cwd=self.folder,
                env=self.environment(token, home=home, user_token=user_token),
                input=f"{user_token}\n" if user_token else "",
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
                start_new_session=True,  # so that it finds no terminal to ask for a token
            )
        # What it remembers of a workspace would win over the next token.
        (self.folder / ".tinyb").unlink(missing_ok=True)
        print(f"$ tb {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        return done

    def environment(self, token: str, *, home: str, user_token: str = "") -> dict[str, str]:
        """Return the variables of a command: tokens, and nothing asked or told elsewhere."""
        address, _, port = (self.local or self.host).rpartition("://")[2].partition(":")
        told = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "LANG": "C.UTF-8",
            "CI": "1",
            "NO_COLOR": "1",
            "TB_VERSION_WARNING": "0",
            "TB_CLI_TELEMETRY_OPTOUT": "1",
            "TB_HOST": self.host,
            "TB_TOKEN": token,
            "TB_LOCAL_HOST": address,
            "TB_LOCAL_PORT": port or "443",
        }
        return {**told, "TB_USER_TOKEN": user_token} if user_token else told


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    text: str

    @property
    def json(self):
        return json.loads(self.text)


def ask(
    host: str, method: str, path: str, token: str = "", *, files=None, form=None, body=None, **query
) -> Reply:
    """Send a request as a program would: with a Bearer header, and no token in the URL."""
    url = f"{host}{path}" + (f"?{urlencode(query)}" if query else "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        if files is not None:
            fields = [
                ("data_project://", (name, text, "text/plain")) for name, text in files.items()
            ]
            fields.append(("context://", ("cli-version", "1.0.0", "text/plain")))
            got = pool.request_encode_body(method, url, fields=fields, headers=headers)
        elif form is not None:
            got = pool.request_encode_body(
                method, url, fields=form, headers=headers, encode_multipart=False
            )
        else:
            got = pool.request(method, url, body=body, headers=headers)
        return Reply(got.status, got.data.decode())


def project_files(folder: Path = PROJECT) -> dict[str, str]:
    """Return the datafiles of a project as a deployment uploads them: text by relative path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for pattern in ("*.datasource", "*.pipe")
        for path in sorted(folder.rglob(pattern))
    }
