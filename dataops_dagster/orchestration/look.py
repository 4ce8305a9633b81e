"""One look at a project: its heads, its runs and its evidence at one moment; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import dagster as dg

from dataops_dagster import promotion
from dataops_dagster.errors import DataOpsError
from dataops_dagster.gate.evidence import what_ran
from dataops_dagster.heads import Head, Heads
from dataops_dagster.model import Considered, Evidence
from dataops_dagster.orchestration.asking import Asking
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.origins import origins
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.store import Store


@dataclass
class Look:
    """What is looked at to decide what is due, at one moment."""

    project: Project
    heads: Heads
    instance: dg.DagsterInstance
    store: Store
    now: datetime
    book_of: BookOf = InstanceBook
    considered: dict[str, Considered] = field(default_factory=dict)
    """What was found out about each target."""

    @cached_property
    def runs(self) -> Asking:
        """Dagster's runs, which a decision asks for one more of."""
        return Asking(self.instance, self.now)

    @cached_property
    def origins(self) -> Mapping[str, Sequence[str]]:
        """Which workspaces are deployed before each one that deploys, by name."""
        return origins(self.project)

    def head(self, workspace: Workspace) -> Head:
        """Return a workspace's head; raises `DataOpsError` when it could not be looked up."""
        head = self.heads[workspace.name]
        if isinstance(head, DataOpsError):
            raise head
        return head

    def consider(self, target: Workspace) -> Considered:
        """Return what would be promoted into a target now, or why nothing."""
        found = promotion.consider(
            self.project,
            target,
            store=self.store,
            book=self.book_of(self.instance),
            now=self.now,
            heads=self.heads,
        )
        self.considered[target.name] = found
        return found

    def told(self, workspace: Workspace, commit: str) -> Sequence[Evidence]:
        """Return all that runs told about a commit in the workspace's environment."""
        return self.book_of(self.instance).find(
            self.project.name, workspace.name, workspace.environment, [commit]
        )

    def evidence(self, workspace: Workspace, commit: str) -> Sequence[Evidence]:
        """Return what runs told that ran what a run of the workspace is now."""
        step, environment = workspace.run, workspace.environment
        return [
            told
            for told in self.told(workspace, commit)
            if step
            and told.digest
            == what_ran(step, tree=told.tree, environment=environment, at=workspace.run_at)
        ]


def latest(found: Sequence[Evidence]) -> Evidence | None:
    """Return the newest evidence, if there is any."""
    return max(found, key=lambda evidence: evidence.time, default=None)
