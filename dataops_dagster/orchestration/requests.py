"""What is due now: compares what should be with what is, and asks Dagster for what is missing.

Level-triggered: nothing is remembered between two looks, so a crash anywhere is healed by the
next one. Sensors and schedules only hand over what is decided here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import dagster as dg

from dataops_dagster.errors import DataOpsError
from dataops_dagster.heads import Head
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.asking import Decision, Wait
from dataops_dagster.orchestration.due_deployments import brought_back, deployment
from dataops_dagster.orchestration.due_promotions import promotion, standing
from dataops_dagster.orchestration.due_rollbacks import rollback
from dataops_dagster.orchestration.due_runs import run, scheduled_run
from dataops_dagster.orchestration.look import Look
from dataops_dagster.orchestration.memory import Memory
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_steps import Step

Decide: TypeAlias = Callable[[Look, Workspace], Decision]

BY_THE_CLOCK: Mapping[str, Decide] = {
    "promote": promotion,
    "deploy": deployment,
    "run": scheduled_run,
}
"""What a schedule asks for, by its verb."""


@dataclass(frozen=True)
class Due:
    """What to ask Dagster for, and for everything else why not."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, name: str, found: Decision) -> None:
        """Take what was decided about one workspace."""
        if isinstance(found, Wait):
            self.reasons.append(f"{name}: {found.reason}")
        else:
            self.requests.append(found)

    def result(self, events: Sequence[Any] = ()) -> dg.SensorResult:
        """Return what a sensor answers, with events that show it."""
        if self.requests:
            return dg.SensorResult(run_requests=self.requests, asset_events=events)
        reason = "\n".join(self.reasons) or "nothing is automatic here"
        return dg.SensorResult(skip_reason=reason, asset_events=events)


@dataclass
class Observer:
    """Goes through a project's workspaces, and decides about each."""

    look: Look
    memory: Memory | None = None
    """What an earlier look found; none where others than Dagster's runs are believed, too."""

    until: float = math.inf
    """When to begin with no further workspace, as `time.monotonic()` tells it."""

    begin: str = ""
    """The workspace to begin with: the first that an earlier look left out. Here it is left in turn."""

    settled: dict[str, Sequence[Decision]] = field(default_factory=dict)
    """The answers for workspaces of which nothing changes as long as nothing happens."""

    def due(self) -> Due:
        """Return everything that happens on change and is due."""
        found, left = Due(), list[str]()
        for number, workspace in enumerate(self._in_turn()):
            kept = self.memory.recall(workspace.name) if self.memory else None
            if kept and kept[0] == self._around(workspace):
                answers = kept[1]
            elif number and time.monotonic() > self.until:
                left.append(workspace.name)
                answers = [Wait("comes first at the next look: this one took too long")]
            else:
                answers = list(_answers(self.look, workspace))
            for answer in answers:
                found.add(workspace.name, answer)
            if all(isinstance(answer, Wait) and answer.settled for answer in answers):
                self.settled[workspace.name] = answers
        self.begin = next(iter(left), "")
        return found

    def _in_turn(self) -> Sequence[Workspace]:
        """Return all workspaces, from the one to begin with on."""
        workspaces = self.look.project.workspaces
        names = list(workspaces)
        at = names.index(self.begin) if self.begin else 0
        return [workspaces[name] for name in (*names[at:], *names[:at])]

    def remember(self, *, without: Collection[dg.AssetKey]) -> None:
        """Keep what is settled, also for the gates that ask for a workspace's runs."""
        if self.memory is None:
            return
        project = self.look.project
        for name, answers in self.settled.items():
            asked = [target.name for target in self._targets.get(name, ()) if target.gate]
            is_known = naming.asset_key(project.name, name) not in without
            if is_known and self.settled.keys() >= set(asked):
                self.memory.keep(name, (self._around(project.workspaces[name]), answers))

    @cached_property
    def _targets(self) -> Mapping[str, Sequence[Workspace]]:
        found: dict[str, list[Workspace]] = {}
        for target in self.look.project.targets:
            for name in target.upstream:
                found.setdefault(name, []).append(target)
        return found

    def _around(self, workspace: Workspace) -> object:
        """Return the heads that the answers for a workspace depend on."""
        targets = (target.name for target in self._targets.get(workspace.name, ()))
        names = (workspace.name, *workspace.upstream, *targets)
        found = [self.look.heads[name] for name in names]
        return [(h.commit, h.release) if isinstance(h, Head) else None for h in found]


def _answers(look: Look, workspace: Workspace) -> Iterator[Decision]:
    """Yield what is decided about one workspace."""
    promotes = False
    if workspace.auto_rollback:
        answer = decided(rollback, look, workspace)
        yield answer
        if _happens(answer):
            return  # what else would happen to it is for what comes after
    if workspace.upstream and workspace.promote == "change":
        answer = decided(promotion, look, workspace)
        promotes = _happens(answer)
        yield answer
    elif workspace.gate:
        yield decided(standing, look, workspace)
    if workspace.deploy and workspace.deploy.when == "change":
        yield decided(deployment, look, workspace)
    elif workspace.deploy and workspace.upstream:
        # What a rollback brought back is served again, whoever deploys otherwise.
        yield decided(brought_back, look, workspace)
    if workspace.run and workspace.run.when == "change":
        # A release is run even when the next one is on its way: else a busy upstream
        # would leave nothing ever proven.
        head = look.heads[workspace.name]
        if promotes and not (isinstance(head, Head) and head.release is not None):
            yield Wait("is run when the promotion is done")
        else:
            yield decided(run, look, workspace)


def _happens(answer: Decision) -> bool:
    return isinstance(answer, dg.RunRequest) or answer.under_way


def decided(decide: Decide, look: Look, workspace: Workspace) -> Decision:
    """Return what is decided; a server that fails us spoils only its own workspaces."""
    try:
        return decide(look, workspace)
    except DataOpsError as error:
        return Wait(f"could not find out: {error}")


def schedules_of(project: Project) -> Iterator[tuple[str, Workspace, str]]:
    """Yield what happens by the clock: promote, deploy or run, the workspace, the cron schedule."""

    def steps(workspace: Workspace) -> Iterator[tuple[str, str]]:
        yield "promote", workspace.promote
        pairs: tuple[tuple[str, Step | None], ...] = (
            ("deploy", workspace.deploy),
            ("run", workspace.run),
        )
        for verb, step in pairs:
            if step:
                yield verb, step.when

    for workspace in project.workspaces.values():
        for verb, when in steps(workspace):
            if when not in ("manual", "change"):
                yield verb, workspace, when
