"""The `tinybird` platform: deploys by the real `tb`, and runs the data project's tests as evidence."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Effects, Facts, Operation, Outcome
from dataops_dagster.platforms.task import Log, Purpose, Result, Task
from dataops_dagster.settings import Workspace
from dataops_dagster.settings_steps import TinybirdStep
from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.tinybird import deploying, testing
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.site import Order


def execute(step: TinybirdStep, task: Task, on_line: Callable[[str], None]) -> Result:
    """Deploy the commit's data project; a run runs its tests."""
    log = Log(on_line)
    wanted = order(step, task, log.add)
    is_run = task.purpose is Purpose.RUN
    begin = time.monotonic()
    result = _test(step, wanted) if is_run else _deploy(wanted)
    log.close()
    return dataclasses.replace(result, seconds=time.monotonic() - begin)


def order(step: TinybirdStep, task: Task, on_line: Callable[[str], None]) -> Order:
    """Return what a task wants of Tinybird; raises `ConfigError` where nobody says which workspace."""
    workspace = task.settings.workspaces[task.workspace]
    if workspace.tinybird is None:
        where = f"workspaces.{task.workspace}"
        raise ConfigError.at(where, "is no workspace at Tinybird", "add tinybird: to it")
    return Order(
        settings=workspace.tinybird,
        target=workspace.name,
        commit=task.commit,
        tree=task.tree,
        folder=task.folder,
        seconds=step.deadline.total_seconds(),
        on_line=on_line,
        variables=step.variables,
        is_gated=workspace.gate is not None,
        approved=task.approved,
        others=tuple(
            (name, each.tinybird)
            for name, each in task.settings.workspaces.items()
            if each.tinybird and name != workspace.name
        ),
    )


def deploy_step(workspace: Workspace) -> TinybirdStep:
    """Return how a workspace is deployed; the defaults where its own step is of another platform."""
    given = workspace.deploy
    return given if isinstance(given, TinybirdStep) else TinybirdStep(platform="tinybird")


def local_of(workspace: Workspace) -> str:
    """Return where Tinybird Local answers, in which Forward's tests of a workspace run."""
    given = workspace.run
    return (
        given.local if isinstance(given, TinybirdStep) else TinybirdStep(platform="tinybird").local
    )


def foresee(step: TinybirdStep, task: Task) -> Effects:
    """Say what deploying the task's commit would do; writes nothing at Tinybird."""
    wanted = order(step, task, lambda _: None)
    return _effects(wanted, deploying.plan(wanted))


def _deploy(wanted: Order) -> Result:
    ran = f"tb deploy to {where_of(wanted.settings)}"
    answer = deploying.deploy(wanted)
    facts = Facts(effects=_effects(wanted, answer))
    if isinstance(answer, Deployed):
        return Result(Outcome.PASSED, ran, answer.detail, facts=facts)
    refusal = answer.refusal if isinstance(answer, Planned) else answer
    assert refusal  # else it would have been carried out
    if (
        refusal.origin
    ):  # which says nothing of this commit: it would do as soon as that one is there
        return Result(Outcome.ERRORED, ran, str(refusal), facts=facts, refused_by=refusal.origin)
    return Result(Outcome.FAILED, ran, str(refusal), facts=facts, waits_for=refusal.waits_for)


def _effects(wanted: Order, answer: Deployed | Planned | Refusal) -> Effects:
    where = where_of(wanted.settings)
    if isinstance(answer, Refusal):
        return Effects(where, problem=str(answer))
    refusal = answer.refusal if isinstance(answer, Planned) else None
    operations = tuple(
        Operation(o.verb.value, o.kind.value, o.name, o.is_destructive, o.detail)
        for o in planning.ordered(answer.plan)
    )
    return Effects(where, answer.plan.digest, operations, str(refusal) if refusal else "")


def where_of(settings: Tinybird) -> str:
    """Name a workspace at Tinybird in words: its name, host and dialect."""
    return f"{settings.workspace} at {settings.host} ({settings.dialect.value})"


def _test(step: TinybirdStep, wanted: Order) -> Result:
    ran = f"tb test run ({wanted.settings.dialect.value})"
    answer = testing.test(wanted, step.local)
    facts = Facts(effects=Effects(answer.where))
    if answer.refusal:
        return Result(Outcome.FAILED, ran, str(answer.refusal), facts=facts)
    return Result(Outcome.PASSED, ran, answer.detail, facts=facts)
