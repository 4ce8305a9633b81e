"""All that people and Dagster do with a workspace, tried on what a hostile one holds.

`python -m tests.hostile_acts FOLDER SIDE` does it in a process of its own, and prints as JSON what came
of it, and how many MB it and its programs took.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from dataops_dagster import config, linting
from dataops_dagster.cli import main
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.execution import execute, pin
from dataops_dagster.platforms import Purpose
from dataops_dagster.store import store_of
from tests.bad_server import FILE, World
from tests.conftest import SHOP

CODES = (0, 1, 2, 3)
TEXT = SHOP.replace("    gate: {environment: staging}\n", "")
MELTANO = """\
version: 1
default_environment: dev
environments: [{name: dev}, {name: staging}, {name: prod}]
plugins: {extractors: [{name: tap-users, namespace: users}]}
"""


@dataclass(frozen=True)
class Told:
    """What an act came to: what was said, and the answer's kind, or what is wrong with it."""

    act: str
    said: str
    answer: str
    wrong: str = ""


def world_at(root: Path) -> World:
    """Return the shop in a folder, with the caches of the command line."""
    made = World(root, FILE, TEXT)
    made.load()
    os.environ["DATAOPS_CACHE_DIR"] = str(root / "cache")
    os.environ["DATAOPS_CONFIG"] = str(root / "dataops.yaml")
    return made


def looks(side: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands that only look."""
    yield from (("check",), ("status",), ("plan", "staging"), ("plan", "staging", "--json"))
    yield from (("why", "staging"), ("log", "staging"), ("audit", "staging"))
    yield from (("config", "show", side), ("config", "show", side, "no such"))
    yield from (("config", "show", f"{side}@nowhere"), ("config", "diff", side, "prod"))
    yield ("rollback", "staging", "--reason", "x", "--by", "y", "--dry-run")
    yield ("rollback", "staging", "--reason", "x", "--by", "y", "--to", "nothing", "--dry-run")
    yield ("backport", "staging", "--dry-run")


def look(*arguments: str) -> Told:
    """Call the command as in a terminal."""
    done = CliRunner().invoke(main, arguments, env={"COLUMNS": "250"}, color=True)
    wrong = "" if done.exit_code in CODES else f"code {done.exit_code}"
    if done.exception and not isinstance(done.exception, SystemExit):
        wrong = f"{type(done.exception).__name__}: {done.exception}"
    return Told(" ".join(arguments), done.output, str(done.exit_code), wrong)


def do(world: World, act: str, side: str) -> Told:
    """Run, deploy, lint or promote; only answers and errors of ours may come of it."""
    lines: list[str] = []
    try:
        if act == "promote":
            answer = world.attempt()
            if isinstance(answer, DataOpsError):
                raise answer
            return Told(act, getattr(answer, "reason", ""), type(answer).__name__)
        project = config.load(world.root / "dataops.yaml")
        workspace, store = project.workspaces[side], store_of(project)
        commit = pin(project, workspace, None, store=store)
        if act == "lint":
            found = linting.at_commit(commit, project, workspace, store=store, ignore=())
            return Told(
                act, "\n".join(f.reason for f in (*found.errors, *found.warnings)), "linted"
            )
        step = project.workspaces["staging" if act == "run" else "prod"]
        result, _ = execute(
            *(project, workspace, step.run or step.deploy),
            commit=commit,
            run_id="1",
            store=store,
            on_line=lines.append,
            purpose=Purpose.RUN if act == "run" else Purpose.DEPLOY,
        )
        return Told(act, "\n".join([*lines, result.detail]), result.outcome.value)
    except ConfigError as error:
        return Told(act, str(error), "ConfigError")
    except ToolError as error:
        wrong = "" if error.hint or error.retryable else f"no hint: {error}"
        return Told(act, str(error), "ToolError", wrong)


def acts(world: World, side: str) -> Iterator[Told]:
    """Do all of it, one after the other."""
    for arguments in looks(side):
        yield look(*arguments)
    for act in ("run", "deploy", "lint", "promote", "promote"):
        yield do(world, act, side)
    yield look("status")


def heavy_acts(world: World, side: str) -> Iterator[Told]:
    """Do what takes most, each in one way."""
    for arguments in (("plan", "staging"), ("config", "show", side), ("audit", "staging")):
        yield look(*arguments)
    for act in ("run", "lint", "promote"):
        yield do(world, act, side)


def megabytes(who: int) -> int:
    """Return the most memory that this process, or one that it started, ever had."""
    if sys.platform == "linux" and who == resource.RUSAGE_SELF:
        # Linux hands `ru_maxrss` down from who started us.
        (peak,) = re.findall(
            r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
        )
        return int(peak) // 1024
    return resource.getrusage(who).ru_maxrss // (1024 if sys.platform == "linux" else 1024**2)


if __name__ == "__main__":
    found = [vars(told) for told in heavy_acts(world_at(Path(sys.argv[1])), sys.argv[2])]
    taken = {"us": resource.RUSAGE_SELF, "programs": resource.RUSAGE_CHILDREN}
    print(json.dumps({"told": found, **{name: megabytes(who) for name, who in taken.items()}}))
