"""The command `dataops`: the same functions as in Dagster, for a terminal and for machines.

Dagster is imported only by commands that need its instance.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from typing_extensions import assert_never

from dataops_dagster import __version__, config, git, promotion
from dataops_dagster.errors import ConfigError, DataOpsError, Problem, ToolError
from dataops_dagster.heads import Head, look_up_all
from dataops_dagster.model import (
    Allowance,
    Answer,
    Conflicted,
    Considered,
    Evidence,
    EvidenceBook,
    Held,
    NothingToDo,
    Override,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
    Verdict,
)
from dataops_dagster.plan import as_data, is_digest, overwritten, reason_of
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of
from dataops_dagster.text import one_line

SAID_NO = 1
"""The exit code when the answer is no; `errors` has the codes of what went wrong."""

INTERRUPTED = 130
_SHOWN = 20


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
        projects = self.projects()
        wanted_project, _, wanted = name.rpartition("/")
        found = [
            (project, target)
            for project in projects
            for target in project.targets
            if target.name == wanted and wanted_project in ("", project.name)
        ]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{p.name}/{t.name}" for p in projects for t in p.targets)
        problem = "stands in several projects" if found else "is no workspace with an upstream"
        raise ConfigError.at(f"TARGET {name}", problem, f"name one of {known}")

    @property
    def book(self) -> EvidenceBook:
        """Where evidence is looked up, if it is asked for."""
        return _HomeEvidence()

    def show(self, data: Any, *tables: Table | str) -> None:
        """Print one JSON document, or what people read."""
        if self.as_json:
            click.echo(json.dumps(data, indent=2, default=str))
            return
        for item in tables:
            self.out.print(item)


class _HomeEvidence:
    """Imports Dagster, which takes a second, only where a gate asks."""

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Look it up in the instance of DAGSTER_HOME."""
        from dataops_dagster.orchestration.instance import HomeInstance

        return HomeInstance().find(project, workspace, environment, commits)


class _Command(click.Group):
    """Turns our errors into a message and an exit code; nobody sees a traceback for theirs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # `dataops status --json` is what people type; the option belongs to the group.
        if "--json" in args:
            args = ["--json", *(word for word in args if word != "--json")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            except OSError as found:
                where = found.filename or "a file"
                raise ToolError(f"using {where}", None, found.strerror or str(found)) from None
        except DataOpsError as error:
            if ctx.params.get("as_json"):
                click.echo(json.dumps({"error": _error_data(error)}, indent=2))
            else:
                click.echo(f"dataops: {error}", err=True)
            ctx.exit(error.exit_code)


def _error_data(error: DataOpsError) -> dict[str, Any]:
    problems: Sequence[Problem] = getattr(error, "problems", ())
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "problems": [as_data(problem) for problem in problems],
    }


@click.group(cls=_Command)
@click.version_option(__version__)
@click.option(
    "--config",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A dataops.yaml; may be given several times.  [default: $DATAOPS_CONFIG, dataops.yaml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def main(ctx: click.Context, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Promote data workspaces safely: production gets what a staging run proved."""
    ctx.obj = Session(paths or config.default_paths(), as_json)


_target = click.argument("target")
_commit = click.option(
    "--commit", help="An upstream commit, by its full id.  [default: the newest the gate takes]"
)
_allow = click.option(
    "--allow",
    multiple=True,
    type=click.Choice([allowance.value for allowance in Allowance]),
    help="Promote this once although the upstream's history is unrelated or was rewritten.",
)


@main.command()
@click.pass_obj
def check(session: Session) -> None:
    """Check the configuration, and that every repository answers."""
    rows, broken = [], list[DataOpsError]()
    for project in session.projects():
        with _progress(session, f"asking the repositories of {project.name}"):
            heads = look_up_all(project)
        for name, head in heads.items():
            if isinstance(head, DataOpsError):
                broken.append(head)
                rows.append((project.name, name, "failed", "see below"))
            elif head.commit is None:
                branch = project.workspaces[name].branch
                rows.append((project.name, name, "empty", f"there is no branch {branch} yet"))
            else:
                rows.append((project.name, name, "ok", f"at {head.commit[:12]}"))
    header = ("project", "workspace", "state", "answer")
    data = {
        "git": git.version(),
        "workspaces": [dict(zip(header, row, strict=True)) for row in rows],
        "errors": [_error_data(error) for error in broken],
    }
    errors = [f"[red]{escape(str(error))}[/]" for error in broken]
    session.show(
        data, f"{git.version()}; the configuration is well formed", _table(header, rows), *errors
    )
    if broken:
        sys.exit(max(error.exit_code for error in broken))


@main.command()
@click.pass_obj
def status(session: Session) -> None:
    """Show where each workspace is, and what each target waits for."""
    rows, broken = [], list[DataOpsError]()
    for project in session.projects():
        with _progress(session, f"looking at {project.name}"):
            heads = look_up_all(project)
            for workspace in project.workspaces.values():
                found = heads[workspace.name]
                head = None if isinstance(found, DataOpsError) else found
                standing = _standing(session, project, workspace, heads)
                if isinstance(standing, DataOpsError):
                    broken.append(standing)
                    standing = f"could not find out: {standing}"
                rows.append(
                    (
                        project.name,
                        workspace.name,
                        workspace.environment,
                        ((head and head.commit) or "")[:12],
                        ((head and head.release) or "").rpartition("/")[2],
                        standing,
                    )
                )
    header = ("project", "workspace", "environment", "head", "release", "state")
    session.show(
        [dict(zip(header, row, strict=True)) for row in rows],
        _table(header[:-1], [row[:-1] for row in rows]),
        *(f"[bold]{escape(row[1])}[/]: {escape(row[-1])}" for row in rows),
    )
    if broken:
        sys.exit(max(error.exit_code for error in broken))


def _standing(
    session: Session,
    project: Project,
    workspace: Workspace,
    heads: Mapping[str, Head | DataOpsError],
) -> str | DataOpsError:
    """Say in words where a workspace stands, or why that could not be found out."""
    head = heads[workspace.name]
    if isinstance(head, DataOpsError):
        return head
    if not workspace.upstream:
        return "source"
    try:
        considered = promotion.consider(
            project, workspace, store=store_of(project), book=session.book, heads=heads
        )
    except DataOpsError as error:
        return error
    return _in_words(considered)


def _in_words(answer: Considered | Answer) -> str:
    match answer:
        case Ready(plan):
            return f"ready: {plan.commit_count} commit(s) of {plan.upstream}"
        case NothingToDo():
            return "nothing to do: it has all of its upstream"
        case Conflicted() | Rejected():
            return f"{answer.reason} (hint: {answer.hint})"
        case Promoted(_, release):
            return f"promoted: release {release.tag}"
        case Held() | Raced():
            return answer.reason
        case _:
            assert_never(answer)


@main.command()
@_target
@_commit
@_allow
@click.pass_obj
def plan(session: Session, target: str, commit: str | None, allow: tuple[str, ...]) -> None:
    """Show what promoting into TARGET would do now; writes nothing."""
    project, workspace = session.target(target)
    asked = _Asked(commit, None, tuple(map(Allowance, allow)))
    _end(session, _consider(session, project, workspace, asked))


@main.command()
@_target
@_commit
@_allow
@click.option("--plan", "digest", metavar="DIGEST", help="Publish this plan, or nothing.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--override", metavar="REASON", help="Pass over a closed gate; recorded.")
@click.pass_obj
def promote(
    session: Session,
    target: str,
    *,
    commit: str | None,
    allow: tuple[str, ...],
    digest: str | None,
    override: str | None,
    dry_run: bool,
) -> None:
    """Promote into TARGET what its gate allows."""
    project, workspace = session.target(target)
    if override is not None and not one_line(override):
        raise ConfigError.at("--override", "is empty", "say why the gate may be passed over")
    if digest is not None and not is_digest(digest):
        raise ConfigError.at(
            "--plan", "is no plan's digest", "copy it from `dataops plan`: sha256:…"
        )
    decision = Override(one_line(override)) if override else None
    asked = _Asked(commit, decision, tuple(map(Allowance, allow)))
    if dry_run:
        considered = _consider(session, project, workspace, asked)
        _end(session, promotion.agreed(considered, digest))
    with _progress(session, f"promoting into {workspace.name}"):
        answer = promotion.promote(
            project,
            workspace,
            store=store_of(project),
            book=session.book,
            now=datetime.now(timezone.utc),
            digest=digest,
            **vars(asked),
        )
    _end(session, answer)


@main.command()
@_target
@click.pass_obj
def log(session: Session, target: str) -> None:
    """Show TARGET's releases, newest first, read from its repository alone."""
    project, workspace = session.target(target)
    store = store_of(project)
    with _progress(session, f"reading the releases of {workspace.name}"):
        found = promotion.releases(project, workspace, store=store)
    rows = [
        (
            release.tag.rpartition("/")[2],
            f"{release.upstream} {release.upstream_commit[:12]}",
            release.equality,
            f"override: {release.override}" if release.override else "; ".join(release.evidence),
        )
        for release in found
    ]
    header = ("release", "from", "equality", "evidence")
    session.show([as_data(release) for release in found], _table(header, rows))


@main.command()
def schema() -> None:
    """Print the JSON Schema of dataops.yaml."""
    click.echo(json.dumps(config.schema(), indent=2))


@main.command()
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="The folder that everything of the demo goes into.",
)
@click.option("--open", "keep_open", is_flag=True, help="Keep Dagster running and open its UI.")
@click.option("--reopen", is_flag=True, help="Only open the UI on what an earlier demo left.")
@click.option("--port", default=3000, show_default=True, help="Where the UI listens.")
@click.pass_obj
def demo(session: Session, home: Path, port: int, *, keep_open: bool, reopen: bool) -> None:
    """Watch a change travel to production, and another that must not."""
    from dataops_dagster.demo import story

    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)  # ends as orderly as Ctrl-C
    try:
        if reopen:
            story.reopen(home, session.out, port=port)
        else:
            story.tell(home, session.out, keep_open=keep_open, port=port)
    except KeyboardInterrupt:
        session.err.print("ended; no process is left")
        sys.exit(INTERRUPTED)


@dataclass(frozen=True)
class _Asked:
    """What a person says about one promotion."""

    commit: str | None
    override: Override | None
    allow: tuple[Allowance, ...]


def _consider(
    session: Session, project: Project, workspace: Workspace, asked: _Asked
) -> Considered:
    with _progress(session, f"planning a promotion into {workspace.name}"):
        return promotion.consider(
            project, workspace, store=store_of(project), book=session.book, **vars(asked)
        )


def _end(session: Session, answer: Considered | Answer) -> NoReturn:
    """Show an answer and leave with its code: 0 for done, nothing to do and not yet."""
    data = {"answer": type(answer).__name__, "message": _in_words(answer), **as_data(answer)}
    session.show(data, *_shown(answer), escape(_in_words(answer)))
    sys.exit(SAID_NO if isinstance(answer, Rejected | Conflicted | Raced) else 0)


def _shown(answer: Considered | Answer) -> Iterator[Table | str]:
    if isinstance(answer, Promoted):
        answer = answer.ready
    if isinstance(answer, Ready):
        yield from _plan_tables(answer.plan)
        if answer.verdicts:
            yield _verdict_table(answer.verdicts)
        yield f"equality: {answer.plan.equality.value}\nplan: {answer.plan.digest}"
    elif isinstance(answer, Held):
        yield _verdict_table(answer.verdicts)


def _plan_tables(plan: Plan) -> Iterator[Table]:
    yield _table(
        ("commit", "author", "subject"),
        [(c.id[:12], c.author, c.subject) for c in plan.commits],
        title=f"{plan.upstream} → {plan.target}: {plan.commit_count} commit(s)",
    )
    tables = (
        ("changes", ("", "path"), [(change.status, change.path) for change in plan.changes]),
        (
            "overwrites what the target had",
            ("path", "line", "commit", "author"),
            [row for overwrite in plan.overwrites for row in overwritten(overwrite)],
        ),
        (
            "differs from the upstream's tree",
            ("path", "why"),
            [(kept.path, reason_of(kept)) for kept in plan.keeps],
        ),
    )
    for title, header, rows in tables:
        if rows:
            yield _table(header, rows, title=title)


def _verdict_table(verdicts: Sequence[Verdict]) -> Table:
    rows = [(v.condition, v.state.value, v.reason, v.who) for v in verdicts]
    return _table(("condition", "state", "reason", "who can change it"), rows, title="gate")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    # Ids are for copying: rather a second line than an ellipsis.
    columns = [Column(name, overflow="fold") for name in header]
    table = Table(*columns, title=title and escape(title), title_justify="left")
    for row in rows[:_SHOWN]:
        table.add_row(*map(escape, row))
    if len(rows) > _SHOWN:
        table.caption = f"and {len(rows) - _SHOWN} more; --json shows all"
    return table


def _progress(session: Session, what: str) -> Any:
    """Say what takes long, on standard error, where it does not spoil the answer."""
    return session.err.status(escape(what))
