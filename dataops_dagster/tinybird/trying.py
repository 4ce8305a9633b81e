"""Would a data project do in a workspace? Asks there, or tries it in a branch that goes again.

Nothing that the workspace serves is ever changed.
"""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime

from typing_extensions import assert_never

from dataops_dagster.errors import ToolError
from dataops_dagster.settings_tinybird import Branches, Destructive, Dialect, Fixtures
from dataops_dagster.tinybird import branches, deploying, guard, sharing, testing
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.journal import Journal
from dataops_dagster.tinybird.model import Listed, Refusal
from dataops_dagster.tinybird.site import Order, ids_of_others, make_tb, staged


def check(order: Order) -> str | Refusal:
    """Ask whether a commit's data project could be deployed; what waits for an approval could.

    Raises `DataOpsError` when it could not be found out.
    """
    answer = deploying.plan(order)
    if isinstance(answer, Refusal):
        return answer
    if answer.refusal and not answer.refusal.waits_for:
        return answer.refusal
    if order.settings.dialect is Dialect.CLASSIC and (wrong := _malformed(order)):
        return wrong
    told = planning.summary(answer.plan)
    return f"{told}; {answer.refusal}" if answer.refusal else told


def _malformed(order: Order) -> Refusal | None:
    """Let Classic read the files: comparing names, as its plan does, would not find a mistake."""
    end = time.monotonic() + order.seconds
    # Without a token it asks no server: with one it would not check offline.
    tb = make_tb(order, order.folder / "tinybird", end, {}, with_token=False)
    done = tb.run("check")
    return None if done.passed else Refusal(f"tb check says no: {done.told}", "mend the files")


def try_out(order: Order, rules: Branches, *, local: str, now: datetime) -> str | Refusal:
    """Make a branch, deploy into it, run the tests; it is destroyed whatever happens.

    One that could not be destroyed is a refusal, which says what came of the trial, too.

    `local` is where Tinybird Local answers, for Forward's tests. Raises `DataOpsError` when it could
    not be found out whether all that goes well.
    """
    if order.settings.is_production:
        return Refusal("production gets no branch", "it is only checked: leave out --branch")
    client = Client.of(order.settings, order.where)
    identity = client.identity()
    refusal = (
        guard.wrong_workspace(order.settings, identity, order.where)
        or guard.another_of_ours(identity, ids_of_others(order))
        or sharing.missing(client, identity, order.settings.uses)
    )
    if refusal:
        return refusal
    end = time.monotonic() + order.seconds
    told: str | Refusal = ""
    try:
        with branches.lent(client, rules, now=now, end=end, say=order.on_line) as branch:
            told = _within(order, branch, local, end)
    except ToolError as error:
        if not told:
            raise
        return Refusal(f"{error.tail}; what was tried there: {told}", error.hint or "")
    return told


def _within(order: Order, branch: Listed | Refusal, local: str, end: float) -> str | Refusal:
    if isinstance(branch, Refusal):
        return branch
    try:
        return _deployed_and_tested(order, branch, local, end)
    finally:
        Journal.of(order.settings.host, branch.id).forget()


def _deployed_and_tested(order: Order, branch: Listed, local: str, end: float) -> str | Refusal:
    # What happens there happens to nobody, so that the rules of the workspace do not hold.
    free = {"fixtures": Fixtures.WHEN_EMPTY, "destructive": Destructive.ALLOWED, "shares": ()}
    order = dataclasses.replace(
        order, settings=order.settings.model_copy(update=free), is_gated=False
    )
    answer = deploying.deploy(staged(order, "deploy", end, branch))
    match answer:
        case Refusal():
            return answer
        case Planned():
            assert answer.refusal  # else it would have been carried out
            return answer.refusal
        case Deployed():
            tested = testing.test(staged(order, "test", end, branch), local)
        case _:
            assert_never(answer)
    return tested.refusal or f"in a branch: {answer.detail}; {tested.detail}"
