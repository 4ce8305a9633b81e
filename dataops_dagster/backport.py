"""Offer what a target got by itself back to its upstream: a promotion the other way round."""

from __future__ import annotations

from dataops_dagster import rollback
from dataops_dagster.model import Rejected
from dataops_dagster.settings import Merge, Policy, Project, Supersede, Workspace
from dataops_dagster.store import Store


def turned(project: Project, target: Workspace, upstream: Workspace) -> tuple[Project, Workspace]:
    """Return the project as if `upstream` got its changes from `target`, and what that makes of it.

    Nothing is settled in silence there: a conflict is for a person. Each keeps what it owns. All
    comes at once: the target's older heads were never meant to be the upstream's.
    """
    receives = upstream.model_copy(
        update={
            "upstream": (target.name,),
            "gate": None,
            "supersede": Supersede.LATEST,
            "merge": Merge(policy=Policy.FAIL_ON_CONFLICT),
            "keep": tuple(dict.fromkeys((*upstream.keep, *target.keep))),
            "scope": (),
        }
    )
    gives = target.model_copy(update={"upstream": ()})
    workspaces = {**project.workspaces, upstream.name: receives, target.name: gives}
    return project.model_copy(update={"workspaces": workspaces}), receives


def refused(project: Project, target: Workspace, *, store: Store) -> Rejected | None:
    """Say no where the target was rolled back: the upstream would lose what was undone."""
    undone = rollback.look(project, target, store=store).undone
    if undone is None:
        return None
    return Rejected(
        target.name,
        f"{target.name} is rolled back to {undone.to[:12]}, and its upstream would be, too",
        "promote to it again first, or make the change in the upstream by hand",
    )
