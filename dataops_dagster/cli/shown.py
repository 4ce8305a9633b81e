"""Answers as people read them: words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import markup
from rich.table import Column, Table
from typing_extensions import assert_never

from dataops_dagster import configuration
from dataops_dagster.gate.verdicts import lines
from dataops_dagster.model import (
    Answer,
    Conflicted,
    Considered,
    Effects,
    Held,
    NothingToDo,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
    Verdict,
)
from dataops_dagster.plan import overwritten, reason_of
from dataops_dagster.text import inert_lines

_SHOWN = 20


def escape(text: str) -> str:
    """Return text for the terminal: nothing in it is markup, or steers what reads it."""
    return markup.escape(inert_lines(text))


def in_words(answer: Considered | Answer) -> str:
    """Return an answer in one line."""
    match answer:
        case Ready(plan):
            if plan.is_rollback:
                return f"ready: back to {plan.upstream_commit[:12]}"
            return f"ready: {plan.commit_count} commit(s) of {plan.upstream}"
        case NothingToDo():
            return "nothing to do: it has all of its upstream"
        case Conflicted() | Rejected():
            return f"{answer.reason} (hint: {answer.hint})"
        case Promoted(_, release):
            done = "rolled back" if release.is_rollback else "promoted"
            return f"{done}: release {release.tag}"
        case Held() | Raced():
            return answer.reason
        case _:
            assert_never(answer)


def tables(answer: Considered | Answer) -> Iterator[Table | str]:
    """Yield what an answer shows beyond its words."""
    if isinstance(answer, Promoted):
        answer = answer.ready
    if isinstance(answer, Ready):
        yield from _plan_tables(answer.plan)
        yield from _gate(answer.verdicts)
        yield f"equality: {answer.plan.equality.value}\nplan: {answer.plan.digest}"
    elif isinstance(answer, Held):
        if answer.plan:
            yield from _plan_tables(answer.plan)
            yield f"equality: {answer.plan.equality.value}\nplan: {answer.plan.digest}"
        yield from _gate(answer.verdicts)


def effects(found: Effects) -> Iterator[Table | str]:
    """Yield what a deployment would do, or why nobody could say."""
    where = f" to {found.where}" if found.where else ""
    if found.operations:
        rows = [(o.verb, o.kind, o.name, o.note) for o in found.operations]
        yield table(("", "kind", "name", ""), rows, title=f"deploying it{where}")
    elif found.digest:
        yield f"deploying it{escape(where)}: no changes"
    if found.digest:
        yield f"deployment plan: {found.digest}"
    if found.problem:
        yield escape(f"deploying it{where}: {found.problem}")


def _gate(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if verdicts:
        yield "\n".join(["gate:", *map(escape, lines(verdicts, depth=1))])


def _plan_tables(plan: Plan) -> Iterator[Table]:
    yield table(
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
            "what the target got by itself",
            ("commit", "author", "subject"),
            [(c.id[:12], c.author, c.subject) for c in plan.hotfixes],
        ),
        (
            "differs from the upstream's tree",
            ("path", "why"),
            [(kept.path, reason_of(kept)) for kept in plan.keeps],
        ),
    )
    for title, header, rows in tables:
        if rows:
            yield table(header, rows, title=title)
    for name, words, told in configuration.tables(plan.configuration):
        yield table(words, told, title=name)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    *,
    most: int = _SHOWN,
) -> Table:
    """Return a table of at most twenty rows, or `most`; what is left out is counted."""
    # Ids are for copying: rather a second line than an ellipsis.
    columns = [Column(escape(name), overflow="fold") for name in header]
    table = Table(*columns, title=title and escape(title), title_justify="left")
    for row in rows[:most]:
        table.add_row(*map(escape, row))
    if len(rows) > most:
        table.caption = f"and {len(rows) - most} more; --json shows all"
    return table
