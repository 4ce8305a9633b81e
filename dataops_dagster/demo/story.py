"""What the demo does and says: one change that reaches production, one that must not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape

from dataops_dagster import config
from dataops_dagster.demo import daemon, meltano
from dataops_dagster.demo.world import World, commit, create, git
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.git import Access
from dataops_dagster.heads import look_up
from dataops_dagster.model import Evidence, Outcome
from dataops_dagster.orchestration.instance import HomeInstance
from dataops_dagster.settings import Project
from dataops_dagster.store import store_of

_STEP_SECONDS = 120.0
_T = TypeVar("_T")


class Story:
    """One telling of the demo, on a world and a running daemon."""

    def __init__(self, world: World, console: Console) -> None:
        self.world = world
        self.console = console
        self.project: Project = config.load(world.config)
        self.instance = HomeInstance()
        self.started = time.monotonic()

    def tell(self) -> None:
        """Tell of a change that travels to production by itself, and of one that must not."""
        good = self._change(
            "Load the users' last login too", "fields: id,email", "fields: id,email,last_login"
        )
        proven = self._in_staging(good, Outcome.PASSED)
        bad = self._change(
            "Read the users from the new export", "users: data/users.jsonl", "users: data/new.jsonl"
        )
        self._tell("dev", "(whose author forgot to add the file)")
        promoted = self._wait("prod", "its promotion", lambda: self._head_with("prod", good))
        self._tell("prod", f"the gate is open for {proven[:10]}: promoted to {promoted[:10]}")
        failed = self._in_staging(bad, Outcome.FAILED)
        self._wait("prod", "the deployment", lambda: self._served(promoted))
        self._tell("prod", f"deployed: the platform serves {promoted[:10]}")
        reason = next(r for r in self.instance.due(self.project).reasons if r.startswith("prod: "))
        self._tell("prod", reason.removeprefix("prod: "))
        if self._head("prod") != promoted or failed[:10] not in reason:
            raise ToolError("the demo", None, "production did not stay where it was")
        self._tell("prod", f"stays at {promoted[:10]}")

    def _change(self, said: str, old: str, new: str) -> str:
        path = self.world.clone / "meltano.yml"
        path.write_text(path.read_text().replace(old, new))
        made = commit(self.world.clone, said)
        self._tell("dev", f"a person commits {made[:10]} “{said}”")
        return made

    def _in_staging(self, change: str, expected: Outcome) -> str:
        """Follow a commit of dev into staging and through its run; returns staging's commit."""
        head = self._wait("staging", "its promotion", lambda: self._head_with("staging", change))
        self._tell("staging", f"promoted: {head[:10]} is staging's head")
        run = self._wait("staging", "its run by Meltano", lambda: self._evidence(head))
        self._tell("staging", f"meltano run {run.outcome.value} in environment {run.environment}")
        if run.outcome is not expected:
            raise ToolError("meltano run", None, run.detail)
        return head

    # --- looking ------------------------------------------------------------------------------

    def _head(self, name: str) -> str:
        return look_up(self.project, self.project.workspaces[name]).commit or ""

    def _head_with(self, name: str, commit_: str) -> str | None:
        """Return the workspace's head once it contains a commit of dev."""
        head = self._head(name)
        workspace = self.project.workspaces[name]
        store = store_of(self.project)
        store.fetch(Access.of(self.project, workspace), workspace.branch, head)
        return head if store.has(commit_) and store.contains(head, commit_) else None

    def _evidence(self, commit_: str) -> Evidence | None:
        found = self.instance.find(self.project.name, "staging", "staging", [commit_])
        return found[0] if found else None

    def _served(self, commit_: str) -> str | None:
        served = self.instance.deployed(self.project.name, "prod")
        return served if served == commit_ else None

    # --- telling ------------------------------------------------------------------------------

    def _wait(self, who: str, what: str, look: Callable[[], _T | None]) -> _T:
        limit = time.monotonic() + _STEP_SECONDS
        with self.console.status(f"{who}: waiting for {what}"):
            while (found := look()) is None:
                if time.monotonic() > limit:
                    raise ToolError(
                        "Dagster's daemon",
                        None,
                        f"{what} of {who} did not happen within {_STEP_SECONDS:g} s",
                        hint=f"see {self.world.home / 'daemon.log'}",
                    )
                time.sleep(0.25)
        return found

    def _tell(self, who: str, what: str) -> None:
        passed = time.monotonic() - self.started
        said = f"[dim]{passed:5.1f} s[/]  [bold]{who:<8}[/] {escape(what)}"
        self.console.print(said, soft_wrap=True)


def tell(home: Path, console: Console, *, keep_open: bool, port: int) -> None:
    """Run the demo in `home`; raises `DataOpsError` when it does not go as told."""
    with console.status("finding Meltano (the first time it is installed; about half a minute)"):
        executable = meltano.command(lambda _: None)
    world = create(home, executable)
    os.environ.update(world.environment())  # this process looks at the same instance and caches
    console.print(f"three workspaces of the project [bold]shop[/] in {world.home}\n")
    with _daemon(world):
        Story(world, console).tell()
        console.print(_what_next(world), soft_wrap=True)
        if keep_open:
            serve(world, console, port)


def reopen(home: Path, console: Console, *, port: int) -> None:
    """Open Dagster's UI and daemon on what an earlier demo left."""
    world = World(home.absolute())
    if not world.config.exists():
        raise ConfigError.at(str(home), "holds no demo", "run `dataops demo` first")
    with _daemon(world):
        serve(world, console, port)


def _daemon(world: World) -> AbstractContextManager[object]:
    command = (daemon.program("dagster-daemon"), "run", "-m", daemon.DEFINITIONS)
    return daemon.running(*command, env=world.environment(), log=world.home / "daemon.log")


def serve(world: World, console: Console, port: int) -> None:
    """Show Dagster's UI on the demo's data until Ctrl-C."""
    arguments = ("-m", daemon.DEFINITIONS, "-h", "127.0.0.1", "-p", str(port))
    webserver = (daemon.program("dagster-webserver"), *arguments)
    with daemon.running(*webserver, env=world.environment(), log=world.home / "webserver.log") as p:
        console.print(f"\nDagster's UI: http://127.0.0.1:{port}/asset-groups  (Ctrl-C ends it)")
        p.wait()


def _what_next(world: World) -> str:
    log = git(world.repository("prod"), "log", "--oneline", "--decorate", "--max-count=3", "main")
    home = _short(world.home)
    dataops = _short(Path(daemon.program("dataops")))
    command = f"DAGSTER_HOME={world.dagster_home} {dataops} --config {home}/dataops.yaml"
    return f"""
production as plain git sees it:
[dim]{escape(log)}[/]

look at it:
  git --git-dir={_short(world.repository("prod"))} show --stat main
  {command} status
  {command} log prod
open the UI on the same data:
  {dataops} demo --reopen --home {home}
"""


def _short(path: Path) -> str:
    """Return a path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
