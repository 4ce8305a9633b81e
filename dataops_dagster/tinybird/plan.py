"""What a deployment would do to a workspace, as data: pure functions from facts to a plan."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dataops_dagster.text import one_line
from dataops_dagster.tinybird.definitions import Difference
from dataops_dagster.tinybird.model import DeploymentPlan, Kind, Operation, Resource, Verb

# What tb says that a deployment changes: a verb and what it is done to.
_VERBS = {
    "new": Verb.CREATE,
    "changed": Verb.CHANGE,
    "disconnected": Verb.CHANGE,
    "deleted": Verb.DELETE,
}
_KINDS = {
    "datasource": Kind.DATASOURCE,
    "data_source": Kind.DATASOURCE,
    "pipe": Kind.PIPE,
    "data_connector": Kind.CONNECTION,
}
_MOST = 10_000


def announced(deployment: Mapping[str, Any], resources: Collection[Resource]) -> list[Operation]:
    """Read what Forward says that a deployment does: lists such as `new_datasource_names`.

    A pipe is shown as what it is among `resources`, the last one of a name.
    """
    kinds = {resource.name: resource.kind for resource in resources}
    found = []
    for verb, verb_meant in _VERBS.items():
        for kind, kind_meant in _KINDS.items():
            names = deployment.get(f"{verb}_{kind}_names")
            for name in names[:_MOST] if isinstance(names, list) else ():
                name_shown = one_line(str(name))[:200]
                is_pipe = kind_meant is Kind.PIPE
                shown = kinds.get(name_shown, kind_meant) if is_pipe else kind_meant
                found.append(Operation(verb_meant, shown, name_shown))
    return found


def compared(
    project: Collection[Resource],
    there: Collection[Resource],
    deployed: Collection[str],
    differences: Mapping[str, Difference],
) -> tuple[list[Operation], tuple[str, ...]]:
    """Compare with what is there, as Classic does not: operations, and what is left alone.

    `differences` are those of what is in both, by names. Deleted is only what an earlier deployment
    of ours brought (`deployed`): the rest may be somebody's.
    """
    known, present = {r.name for r in project}, {r.name for r in there}
    operations = [
        Operation(Verb.CREATE, r.kind, r.name)
        for r in project
        if r.kind is not Kind.CONNECTION and r.name not in present
    ]
    changed = [Operation(Verb.CHANGE, r.kind, r.name) for r in project if r.name in differences]
    operations += detailed(changed, differences)
    gone = [r for r in there if r.name not in known]
    operations += [Operation(Verb.DELETE, r.kind, r.name) for r in gone if r.name in deployed]
    return operations, tuple(sorted(r.name for r in gone if r.name not in deployed))


def detailed(
    operations: Iterable[Operation], differences: Mapping[str, Difference]
) -> list[Operation]:
    """Return the operations with what changes, where a difference of that name says so."""
    return [
        dataclasses.replace(o, detail=found.told, is_lossy=found.is_lossy)
        if o.verb is Verb.CHANGE and (found := differences.get(o.name))
        else o
        for o in operations
    ]


def seeds(fixtures: Sequence[tuple[str, str]], rows: Mapping[str, int]) -> list[Operation]:
    """Return the fixtures to append: all of them when every data source they are for is empty.

    `rows` counts those that are there; one that is not is made by the deployment, and empty.
    """
    names = sorted({name for name, _ in fixtures})
    if any(rows.get(name, 0) for name in names):
        return []
    return [Operation(Verb.SEED, Kind.DATASOURCE, name) for name in names]


def signed(plan: DeploymentPlan, host: str) -> DeploymentPlan:
    """Return the plan with the digest that names it: the workspace, the tree, the operations.

    What an operation changes is part of it: what is there may become other than what was approved.
    """
    operations = sorted(
        (o.verb.value, o.kind.value, o.name, o.detail, o.is_lossy) for o in plan.operations
    )
    decided = ["tinybird", host, plan.workspace_id, plan.tree, operations]
    text = json.dumps(decided, separators=(",", ":"))
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return dataclasses.replace(plan, digest=digest)


def ordered(plan: DeploymentPlan) -> list[Operation]:
    """Return the operations as people read them: the destructive ones first."""
    return sorted(plan.operations, key=lambda o: (not o.is_destructive, o.verb.value, o.name))


def summary(plan: DeploymentPlan) -> str:
    """Return a plan in a few words: how many resources it creates, changes, deletes and seeds."""
    counts = [(verb, sum(o.verb is verb for o in plan.operations)) for verb in Verb]
    return ", ".join(f"{verb.value} {count}" for verb, count in counts if count) or "no changes"
