"""May this happen to this workspace at Tinybird? Pure: decides on facts, and asks nobody."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dataops_dagster.settings_tinybird import Destructive, Tinybird
from dataops_dagster.tinybird.model import (
    DeploymentPlan,
    Identity,
    Listed,
    Operation,
    Refusal,
    Verb,
)

_MOSTLY = 0.5
_NAMED = 10


def wrong_workspace(settings: Tinybird, found: Identity, where: str) -> Refusal | None:
    """Say why the workspace that the token belongs to is not the configured one."""
    if found.name != settings.workspace:
        return Refusal(
            f"the token in {settings.token_variable} belongs to workspace {found.name}, not to"
            f" {settings.workspace}",
            f"set {settings.token_variable} to a token of {settings.workspace}, or mend {where}.workspace",
        )
    if settings.workspace_id not in (None, found.id):
        return Refusal(
            f"{found.name} has the id {found.id}, and {settings.workspace_id} is pinned: it was made"
            " anew, or is another",
            f"make sure that it is the right one, then set {where}.workspace_id: {found.id}",
        )
    if found.is_branch:
        return Refusal(
            f"the token in {settings.token_variable} belongs to a branch of {found.name}",
            "set it to a token of the workspace itself",
        )
    return None


def wrong_place(place: Listed, found: Identity) -> Refusal | None:
    """Say why a token that was looked up does not lead where it should."""
    if (found.id, found.name) == (place.id, place.name):
        return None
    return Refusal(
        f"the token of {place.name} ({place.id}) leads to {found.name} ({found.id})",
        "somebody is changing these workspaces: look, then do it again",
    )


def another_of_ours(found: Identity | Listed, ids: Mapping[str, str]) -> Refusal | None:
    """Refuse a workspace that one more of the project's is; `ids` are those of others, with whose."""
    if found.id not in ids:
        return None
    return Refusal(
        f"{found.name} ({found.id}) is what workspace {ids[found.id]} is at Tinybird, too",
        "give each workspace one of its own there, and a token of that",
    )


def mostly_unknown(there: Collection[str], project: Collection[str]) -> str:
    """Say so when most of what a workspace holds is not the data project's; empty when it is."""
    unknown = sorted(set(there) - set(project))
    if not there or len(unknown) <= _MOSTLY * len(there):
        return ""
    named = ", ".join(unknown[:_NAMED]) + (", …" if len(unknown) > _NAMED else "")
    return (
        f"{len(unknown)} of the {len(set(there))} resources in the workspace are unknown to this data"
        f" project: {named}"
    )


def not_to_be_dropped(settings: Tinybird, *, where: str, confirmed: str) -> Refusal | None:
    """Say why a workspace may not be dropped, whatever it holds."""
    if settings.is_production:
        return Refusal("production is never dropped", "roll back, or deploy an earlier commit")
    if not settings.recreate:
        return Refusal(f"{settings.workspace} may not be dropped", f"set {where}.recreate: true")
    if confirmed != settings.workspace:
        return Refusal(
            f"nothing is dropped: {settings.workspace} was not confirmed",
            f"type its name at Tinybird, or add --confirm {settings.workspace}",
        )
    return None


def foreign(
    there: Collection[str],
    project: Collection[str],
    plan: DeploymentPlan,
    *,
    target: str,
    approved: Collection[str],
) -> Refusal | None:
    """Refuse a workspace that mostly holds what the data project does not define: it is another's.

    An approval of the plan lets it through, as for a project that renames most of what it has.
    `target` is whom it would be given for, empty where nobody can approve.
    """
    unknown = mostly_unknown(there, project)
    if plan.digest in approved or not unknown:
        return None
    return Refusal(
        unknown,
        "a workspace holds one data project: name another one"
        + (f"; or dataops approve {target} --plan {plan.digest}" if target else ""),
        plan.digest if target else "",
    )


def needs_approval(settings: Tinybird, plan: DeploymentPlan) -> tuple[Operation, ...]:
    """Return the operations that happen only if somebody approved exactly this plan."""
    return tuple(
        o
        for o in plan.operations
        if (o.is_destructive and settings.destructive is Destructive.APPROVE)
        or (o.verb is Verb.SEED and settings.is_production)
    )


def unsafe(
    settings: Tinybird,
    plan: DeploymentPlan,
    *,
    where: str,
    target: str,
    approved: Collection[str],
) -> Refusal | None:
    """Refuse what deletes, or fills production, unless it is allowed or exactly it was approved."""
    gone = plan.destructive
    if gone and settings.destructive is Destructive.REFUSE:
        return Refusal(
            f"it would {_told(gone)}",
            f"set {where}.destructive to approve, or keep in the data project what would be gone",
        )
    waits = needs_approval(settings, plan)
    if waits and plan.digest not in approved:
        return Refusal(
            f"it would {_told(waits)}, and nobody approved that",
            f"dataops approve {target} --plan {plan.digest}, and deploy again",
            plan.digest,
        )
    return None


def _told(operations: Collection[Operation]) -> str:
    told = [
        f"{o.verb.value} {o.kind.value} {o.name}" + (f" ({o.detail})" if o.detail else "")
        for o in operations
    ]
    return ", ".join(told[:_NAMED]) + (", …" if len(told) > _NAMED else "")
