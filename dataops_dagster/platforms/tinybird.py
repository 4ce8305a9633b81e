"""The `tinybird` platform: deploys by the real `tb`, and runs the data project's tests as evidence."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import assert_never

from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Outcome
from dataops_dagster.platforms.task import Log, Purpose, Result, Task
from dataops_dagster.settings import TinybirdStep
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
    result = _test(step, wanted) if is_run else _deploy(wanted, log.add)
    log.close()
    return result


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
        is_production=task.settings.is_production(workspace),
        approved=task.approved,
    )


def _deploy(wanted: Order, say: Callable[[str], None]) -> Result:
    ran = f"tb deploy ({wanted.settings.dialect.value}) to {wanted.settings.workspace}"
    answer = deploying.deploy(wanted)
    match answer:
        case Refusal():
            return Result(Outcome.FAILED, ran, str(answer))
        case Planned(_, plan, refusal):
            for row in planning.rows_of(plan):
                say(" ".join(filter(None, row)))
            return Result(Outcome.FAILED, ran, str(refusal))
        case Deployed(_, _, detail):
            return Result(Outcome.PASSED, ran, detail)
        case _:
            assert_never(answer)


def _test(step: TinybirdStep, wanted: Order) -> Result:
    ran = f"tb test run ({wanted.settings.dialect.value})"
    answer = testing.test(wanted, step.local)
    if isinstance(answer, Refusal):
        return Result(Outcome.FAILED, ran, str(answer))
    return Result(Outcome.PASSED, ran, answer)
