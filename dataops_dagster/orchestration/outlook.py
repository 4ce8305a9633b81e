"""The checks `gate` and `merge` of a target: where the next promotion stands. They decide nothing."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from dataops_dagster import clock, promotion
from dataops_dagster.model import Considered, Override
from dataops_dagster.orchestration import metadata, naming
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.ops import answered_errors
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import store_of


def outlook_checks(
    project: Project, book_of: BookOf = InstanceBook
) -> list[dg.AssetChecksDefinition]:
    """Return the check `merge` of each target, and the check `gate` of each that has one."""
    gated = {w.name: w for w in project.targets if w.gate}
    made = [_gate_checks(project, gated, book_of)] if gated else []
    targets = {w.name: w for w in project.targets}
    return [*made, _merge_checks(project, targets, book_of)] if targets else []


def gate_said(found: Considered) -> dict[str, Any]:
    """Return what the check `gate` says of a target: a warning while something is held up."""
    return {
        "passed": metadata.is_open(found),
        "description": metadata.standing(found),
        "severity": dg.AssetCheckSeverity.WARN,
        "metadata": metadata.of_gate(found),
    }


def merge_said(found: Considered) -> dict[str, Any]:
    """Return what the check `merge` says of a target: an error when nothing can be made of it."""
    return {
        "passed": metadata.is_mergeable(found),
        "description": metadata.merging(found),
        "severity": dg.AssetCheckSeverity.ERROR,
        "metadata": metadata.of_merge(found),
    }


def _gate_checks(
    project: Project, gated: Mapping[str, Workspace], book_of: BookOf
) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            naming.GATE_CHECK,
            asset=naming.asset_key(project.name, name),
            description=f"What a promotion into {name} waits for. Shown; the gate itself is asked"
            " again before anything lands.",
        )
        for name in gated
    ]

    @dg.multi_asset_check(
        name=naming.gate_op(project.name),
        specs=specs,
        can_subset=True,
        description="Say where gates stand, and decide nothing.",
    )
    def gate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        yield from _looked(context, project, book_of, None, gate_said)

    return gate


def _merge_checks(
    project: Project, targets: Mapping[str, Workspace], book_of: BookOf
) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            naming.MERGE_CHECK,
            asset=naming.asset_key(project.name, name),
            description=f"What {' or '.join(target.upstream)} has for {name} can be merged into it:"
            " what would land next, or the newest commit while nothing may.",
        )
        for name, target in targets.items()
    ]
    # What is only looked at need not be proven.
    looking = Override("to look at the merge")

    @dg.multi_asset_check(
        name=naming.merge_op(project.name),
        specs=specs,
        can_subset=True,
        description="Plan promotions whatever their gates say, and decide nothing.",
    )
    def merge(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        yield from _looked(context, project, book_of, looking, merge_said)

    return merge


def _looked(
    context: dg.AssetCheckExecutionContext,
    project: Project,
    book_of: BookOf,
    override: Override | None,
    said: Callable[[Considered], dict[str, Any]],
) -> Iterator[dg.AssetCheckResult]:
    """Consider what the checks that were selected are of, and yield what is `said` of each."""
    book = book_of(context.instance)
    for key in sorted(context.selected_asset_check_keys):
        target = project.workspaces[key.asset_key.path[-1]]
        with answered_errors():
            found = promotion.consider(
                *(project, target),
                store=store_of(project),
                book=book,
                now=clock.now(),
                override=override,
            )
        yield dg.AssetCheckResult(asset_key=key.asset_key, check_name=key.name, **said(found))
