"""Plans, verdicts and releases as Dagster metadata: Markdown for people, numbers to plot.

Text that comes from repositories is escaped: it shows as what it is and does nothing.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from dataops_dagster import configuration, urls
from dataops_dagster.audit import Landed
from dataops_dagster.gate.lint import Finding
from dataops_dagster.gate.verdicts import line, nested
from dataops_dagster.model import (
    Commit,
    Conflicted,
    Considered,
    Effects,
    Held,
    NothingToDo,
    Plan,
    Ready,
    Rejected,
    Release,
    Verdict,
)
from dataops_dagster.orchestration import records
from dataops_dagster.plan import overwritten, reason_of
from dataops_dagster.platforms import Result
from dataops_dagster.platforms.tinybird import where_of
from dataops_dagster.settings import Workspace
from dataops_dagster.text import inert

_ROWS, _LINE = 50, 1000
"""How many lines are shown, and how much of one: what people and repositories say may have any length."""


def escape(text: str) -> str:
    """Make text inert in Markdown and HTML."""
    escaped = inert(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", escaped).replace("://", ":&#47;/")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> dg.MarkdownMetadataValue:
    """Return a Markdown table of at most fifty rows; what is left out is counted."""
    return dg.MetadataValue.md("\n".join(_lines(header, list(rows))))


def sections(tables: Iterable[configuration.Table]) -> dg.MarkdownMetadataValue:
    """Return tables as Markdown, each below its title."""
    told = ["\n".join([f"**{escape(title)}**", "", *_lines(h, rows)]) for title, h, rows in tables]
    return dg.MetadataValue.md("\n\n".join(told) or "nothing")


def _lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(map(escape, row))} |" for row in rows[:_ROWS]]
    return [*lines, "", f"… and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else lines


def of_plan(plan: Plan) -> dict[str, Any]:
    """Return what a plan says."""
    return {
        **_of_history(plan),
        "dataops/files_overwritten": len(plan.overwrites),
        "dataops/lines_overwritten": sum(o.line_count or 0 for o in plan.overwrites),
        "dataops/files_kept": len(plan.keeps),
        **_lists(plan),
    }


def _of_history(plan: Plan) -> dict[str, Any]:
    """Return what of a plan its target's history tells once it has landed."""
    return {
        records.COMMIT: plan.commit,
        records.TREE: plan.tree,
        "dataops/upstream_commit": plan.upstream_commit,
        "dataops/base": plan.base or "none",
        "dataops/equality": plan.equality.value,
        "dataops/plan": plan.digest,
        "dataops/commits": plan.commit_count,
        "dataops/files_changed": len(plan.changes),
        "dataops/commit_list": table(
            ("commit", "author", "subject"),
            ((c.id[:12], c.author, c.subject) for c in plan.commits),
        ),
        "dataops/changes": table(("change", "path"), ((c.status, c.path) for c in plan.changes)),
    }


def of_landing(target: Workspace, plan: Plan, *, now: datetime, seconds: float) -> dict[str, Any]:
    """Return what is known once a plan landed: how long that took, and how long its changes waited."""
    took = {"dataops/merge_seconds": round(seconds, 3)}
    return took | _waited(plan, now) | page_of(target, plan.commit)


def of_landed(landed: Landed | None) -> dict[str, Any]:
    """Return what the record of a release tells to one who did not see it land.

    No commit bears out what it says of the gate, an override, and commits that were skipped.
    """
    if landed is None:
        return {}
    plan, release = landed.plan, landed.release
    gate = "\n".join(f"- {escape(said[:_LINE])}" for said in release.gate[:_ROWS])
    return {
        **_of_history(plan),
        **of_hotfixes(plan.hotfixes),
        **_of_skipped(plan),
        **({records.GATE: dg.MetadataValue.md(gate)} if gate else {}),
        **of_release(release),
        **_waited(plan, release.time),
    }


def _waited(plan: Plan, landed: datetime) -> dict[str, Any]:
    """Return how long the oldest of the commits that a plan names waited; a rollback brings none."""
    if plan.is_rollback or not plan.commits:
        return {}
    oldest = max(0, min(commit.time for commit in plan.commits))  # it may claim any
    return {"dataops/lead_seconds": max(0, int(landed.timestamp()) - oldest)}


def page_of(workspace: Workspace, commit: str) -> dict[str, Any]:
    """Return the link to a commit at its host, where the host is one of those we know."""
    page = urls.commit_page(workspace.repository, commit)
    return {"dataops/commit_page": dg.MetadataValue.url(page)} if page else {}


def of_workspace(workspace: Workspace) -> dict[str, Any]:
    """Return what an asset's definition says: where its branch can be looked at, and who serves it."""
    page = urls.branch_page(workspace.repository, workspace.branch)
    if page is None:
        return of_platform(workspace)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", dg.BetaWarning
        )  # there is no other way to the UI's code links
        reference = dg.UrlCodeReference(url=page, label=f"{workspace.branch} of {workspace.name}")
        references = dg.CodeReferencesMetadataValue(code_references=[reference])
    return {**of_platform(workspace), "dagster/code_references": references}


def of_platform(workspace: Workspace) -> dict[str, Any]:
    """Return which workspace at Tinybird a workspace is, if it is one: name, host and dialect."""
    served = workspace.tinybird
    return {"dataops/platform_workspace": where_of(served)} if served else {}


def of_hotfixes(commits: Sequence[Commit]) -> dict[str, Any]:
    """Return what a target got by itself, if it did."""
    rows = ((c.id[:12], c.author, c.subject) for c in commits)
    header = ("commit", "author", "subject")
    return {"dataops/hotfixes": table(header, rows)} if commits else {}


def _lists(plan: Plan) -> dict[str, Any]:
    lists: dict[str, Any] = {}
    if plan.overwrites:
        rows = [row for overwrite in plan.overwrites for row in overwritten(overwrite)]
        lists["dataops/overwrites"] = table(("path", "line", "commit", "author"), rows)
    if plan.keeps:
        kept = [(each.path, reason_of(each)) for each in plan.keeps]
        lists["dataops/keeps"] = table(("path", "why"), kept)
    lists |= of_hotfixes(plan.hotfixes)
    lists |= _of_skipped(plan)
    if plan.configuration:
        lists["dataops/configuration"] = sections(configuration.tables(plan.configuration))
    return lists


def _of_skipped(plan: Plan) -> dict[str, Any]:
    rows = ((commit[:_LINE],) for commit in plan.skipped)
    return {"dataops/skipped": table(("commit",), rows)} if plan.skipped else {}


def of_verdicts(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what a gate says, as the tree that the sensor and `dataops why` show."""
    if not verdicts:
        return {records.GATE: "none is configured"}
    told = [f"{'    ' * depth}- {escape(line(verdict))}" for depth, verdict in nested(verdicts)]
    return {records.GATE: dg.MetadataValue.md("\n".join(told))}


def of_gate(considered: Considered) -> dict[str, Any]:
    """Return where a gate stands, also when there is nothing to promote."""
    match considered:
        case Ready(_, verdicts) | Held(_, verdicts):
            return of_verdicts(verdicts)
        case NothingToDo():
            return {records.GATE: "nothing to promote"}
        case Rejected() | Conflicted():
            return {records.GATE: escape(f"refused: {considered.reason}")}


def of_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what a look into files found."""
    rows = [(f.rule, f"{f.path}:{f.line}", f.reason) for f in findings]
    return {"dataops/findings": table(("rule", "where", "what"), rows)} if rows else {}


def standing(considered: Considered) -> str:
    """Return on one line what a promotion waits for: shown without a click."""
    match considered:
        case Held() | Rejected() | Conflicted():
            return inert(considered.reason)
        case NothingToDo():
            return "nothing to promote"
        case Ready():
            return "nothing holds it up"


def is_open(considered: Considered) -> bool:
    """Say whether nothing is held up."""
    return isinstance(considered, Ready | NothingToDo)


def of_merge(considered: Considered) -> dict[str, Any]:
    """Return what would be merged, or what stands in the way of it."""
    match considered:
        case Ready(plan) | Held(plan=Plan() as plan):
            return of_plan(plan)
        case Conflicted():
            return of_conflicts(considered)
        case _:
            return {}


def of_conflicts(conflicted: Conflicted) -> dict[str, Any]:
    """Return the paths that a person must decide about."""
    return {"dataops/conflicts": table(("path",), ((path,) for path in conflicted.paths))}


def merging(considered: Considered) -> str:
    """Return on one line what would be merged: shown without a click."""
    match considered:
        case Ready(plan) | Held(plan=Plan() as plan):
            counts = f"{plan.commit_count} commit(s), {len(plan.changes)} file(s) change"
            return f"{counts}, {len(plan.overwrites)} overwritten; {plan.equality.value}"
        case _:
            return standing(considered)


def is_mergeable(considered: Considered) -> bool:
    """Say whether there is nothing that cannot be merged."""
    return not isinstance(considered, Rejected | Conflicted)


def of_release(release: Release) -> dict[str, Any]:
    """Return what a release says beyond its plan."""
    override = {"dataops/override": release.override[:_LINE]} if release.override else {}
    return named(release.tag) | override


def named(release: str | None) -> dict[str, Any]:
    """Return the name of a release, if there is one."""
    return {"dataops/release": release} if release else {}


def of_effects(effects: Effects | None) -> dict[str, Any]:
    """Return what a deployment does to a platform, as far as it says."""
    if effects is None:
        return {}
    rows = ((o.verb, o.kind, o.name, o.note) for o in effects.operations)
    told = {
        "dataops/platform_workspace": effects.where,
        "dataops/deployment_plan": effects.digest,
        "dataops/operations": table(("", "kind", "name", ""), rows) if effects.operations else "",
        "dataops/deployment_problem": effects.problem,
    }
    return {key: value for key, value in told.items() if value}


def of_result(result: Result) -> dict[str, Any]:
    """Return how long a program took, and what it told of itself."""
    told: dict[str, Any] = {"dataops/seconds": round(result.seconds, 3)}
    streams = result.facts.streams
    if streams:
        rows = ((s.extractor, s.name, "" if s.rows is None else str(s.rows)) for s in streams)
        told["dataops/rows"] = sum(stream.rows or 0 for stream in streams)
        told["dataops/streams"] = table(("extractor", "stream", "rows"), rows)
    told |= of_effects(result.facts.effects)
    for failing in result.facts.failing[:1]:
        told["dataops/failed_plugin"] = failing.plugin
        told["dataops/exit_code"] = failing.exit_code
    return told
