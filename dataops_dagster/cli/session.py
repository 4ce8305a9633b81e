"""What a call of the command works with: configuration, evidence, output, and how errors end it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from dataops_dagster import clock, config
from dataops_dagster.cli import shown
from dataops_dagster.cli.shown import escape
from dataops_dagster.errors import ConfigError, DataOpsError, Problem, ToolError
from dataops_dagster.gate.decisions import approved_deployments
from dataops_dagster.model import (
    Answer,
    Book,
    Conflicted,
    Considered,
    Decision,
    Effects,
    Evidence,
    Raced,
    Rejected,
)
from dataops_dagster.plan import as_data
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_gate import Approvals
from dataops_dagster.settings_tinybird import Destructive, Fixtures

SAID_NO = 1
"""The exit code when the answer is no; `errors` has the codes of what went wrong."""


@dataclass
class Session:
    """What one call of the command works with."""

    paths: tuple[Path, ...]
    as_json: bool
    out: Console = field(default_factory=lambda: Console(highlight=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def projects(self) -> list[Project]:
        """Read the configuration."""
        return config.load_all(self.paths)

    def target(self, name: str) -> tuple[Project, Workspace]:
        """Find a workspace with an upstream by `WORKSPACE` or `PROJECT/WORKSPACE`."""
        return self.named("TARGET", name, "workspace with an upstream", lambda p: p.targets)

    def workspace(self, name: str) -> tuple[Project, Workspace]:
        """Find any workspace by `WORKSPACE` or `PROJECT/WORKSPACE`."""
        return self.named("WORKSPACE", name, "workspace", lambda p: p.workspaces.values())

    def named(
        self,
        argument: str,
        name: str,
        what: str,
        those_of: Callable[[Project], Iterable[Workspace]],
        *,
        otherwise: str = "",
    ) -> tuple[Project, Workspace]:
        """Find one of some workspaces; raises `ConfigError`, which hints at `otherwise` if there is none."""
        wanted_project, _, wanted = name.rpartition("/")
        known = [(project, each) for project in self.projects() for each in those_of(project)]
        found = [
            (project, each)
            for project, each in known
            if each.name == wanted and wanted_project in ("", project.name)
        ]
        if len(found) == 1:
            return found[0]
        problem = "stands in several projects" if found else f"is no {what}"
        names = ", ".join(f"{project.name}/{each.name}" for project, each in known)
        hint = otherwise if otherwise and not known else f"name one of {names}"
        raise ConfigError.at(f"{argument} {name}", problem, hint)

    def approved(self, project: Project, workspace: Workspace) -> frozenset[str]:
        """Return the digests of the plans of deployments that people approve now.

        Asks Dagster only about a workspace that asks for approvals, or where Dagster is set up: any
        behind a gate may hold another data project.
        """
        tinybird = workspace.tinybird
        if tinybird is None or workspace.gate is None:
            return frozenset()
        fills = tinybird.fixtures is not Fixtures.NEVER and tinybird.is_production
        asks = fills or tinybird.destructive is Destructive.APPROVE
        if not asks and not os.environ.get("DAGSTER_HOME"):
            return frozenset()
        rule = workspace.gate.approvals or Approvals()
        decided = self.book.decisions(project.name, workspace.name)
        return approved_deployments(decided, rule, now=clock.now())

    @property
    def book(self) -> Book:
        """Where evidence is looked up, if it is asked for."""
        return _HomeBook()

    def show(self, data: Any, *tables: Table | str) -> None:
        """Print one JSON document, or what people read."""
        if self.as_json:
            click.echo(json.dumps(data, indent=2, default=str))
            return
        for item in tables:
            self.out.print(item, soft_wrap=isinstance(item, str))


class _HomeBook:
    """Imports Dagster, which takes a second, only where a gate asks."""

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Look it up in the instance of DAGSTER_HOME."""
        from dataops_dagster.orchestration.instance import HomeInstance

        return HomeInstance().find(project, workspace, environment, commits)

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Look it up in the instance of DAGSTER_HOME."""
        from dataops_dagster.orchestration.instance import HomeInstance

        return HomeInstance().job_runs(project, workspace, environment, jobs)

    def decisions(self, project: str, target: str) -> Sequence[Decision]:
        """Look it up in the instance of DAGSTER_HOME."""
        from dataops_dagster.orchestration.instance import HomeInstance

        return HomeInstance().decisions(project, target)


class Command(click.Group):
    """Turns our errors into a message and an exit code; nobody sees a traceback for theirs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take --json wherever it stands."""
        # `dataops status --json` is what people type; the option belongs to the group.
        if "--json" in args:
            args = ["--json", *(word for word in args if word != "--json")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and end with the error's message and code if there is one."""
        try:
            try:
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()  # now there is somebody who says that it cannot be written
            except BrokenPipeError:
                raise  # whoever read has read enough; click ends in silence
            except OSError as found:
                where = found.filename or "a file"
                raise ToolError(f"using {where}", None, found.strerror or str(found)) from None
        except DataOpsError as error:
            as_json = ctx.params.get("as_json")
            data = json.dumps({"error": error_data(error)}, indent=2) + "\n" if as_json else ""
            if not _written(data) or not as_json:
                click.echo(f"dataops: {error}", err=True)
            ctx.exit(error.exit_code)


def _written(text: str) -> bool:
    """Say whether what was said and this text got out; else let go of both.

    Python would try, and complain, once more at its end.
    """
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def error_data(error: DataOpsError) -> dict[str, Any]:
    """Return an error for machines."""
    problems: Sequence[Problem] = getattr(error, "problems", ())
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "problems": [as_data(problem) for problem in problems],
    }


def end(session: Session, answer: Considered | Answer, effects: Effects | None = None) -> NoReturn:
    """Show an answer and leave with its code: 0 for done, nothing to do and not yet.

    `effects` are those of the deployment that would follow.
    """
    data = {"answer": type(answer).__name__, "message": shown.in_words(answer), **as_data(answer)}
    if effects:
        data["deployment"] = as_data(effects)
    tables = [*shown.tables(answer), *(shown.effects(effects) if effects else ())]
    session.show(data, *tables, escape(shown.in_words(answer)))
    sys.exit(SAID_NO if isinstance(answer, Rejected | Conflicted | Raced) else 0)


def progress(session: Session, what: str) -> Any:
    """Say what takes long, on standard error, where it does not spoil the answer."""
    return session.err.status(escape(what))
