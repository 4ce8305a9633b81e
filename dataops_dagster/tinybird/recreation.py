"""Drops a workspace and makes it anew: prove, drop, create, read the new token; then it is deployed.

From wherever a call broke off, the next one goes on: what stands at Tinybird says where, together
with the id that was to go, which is kept on this machine.
"""

from __future__ import annotations

import dataclasses
import time
from enum import Enum

from typing_extensions import assert_never

from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.settings_tinybird import Dialect, Tinybird
from dataops_dagster.tinybird import deploying, guard, resources
from dataops_dagster.tinybird.client import Account, Client
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.journal import Journal, Record
from dataops_dagster.tinybird.model import Kind, Listed, Refusal
from dataops_dagster.tinybird.site import Order, ids_of_others, make_tb

POLL_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0
_PROBE = "_dataops_probe"
_AGAIN = "call it again: it goes on from here"


class Step(Enum):
    """What is to be done next."""

    DROP = "drop"
    CREATE = "create"
    GO_ON = "go on"


def next_step(found: Listed | None, old: str, pinned: str | None) -> Step | Refusal:
    """Decide from what stands at Tinybird; `old` is the id that a call which broke off let go."""
    if found is None:
        return Step.CREATE
    if old and found.id != old:
        return Step.GO_ON
    if pinned not in (None, found.id):
        return Refusal(
            f"{found.name} has the id {found.id}, and {pinned} is pinned: it was made anew, or is another",
            "make sure that it is the right one, then pin its id",
        )
    return Step.DROP


def renew(order: Order, confirmed: str) -> Listed | Refusal:
    """Return the empty workspace that stands in the old one's place.

    `confirmed` is the name that a person typed. Raises `DataOpsError` when a step fails: call it
    again then.
    """
    settings = order.settings
    refusal = guard.not_to_be_dropped(settings, where=order.where, confirmed=confirmed)
    if refusal:
        return refusal
    account, record = Account.of(settings, order.where), Record.of(settings)
    with record.locked():
        found = account.find(settings.workspace)
        step = next_step(found, record.old, settings.workspace_id)
        match step:
            case Refusal():
                return step
            case Step.GO_ON:
                assert found
                order.on_line(f"{found.name} ({found.id}) was made already: going on from there")
                return found
            case Step.DROP:
                assert found
                with Journal.of(settings.host, found.id).locked("its recreation"):
                    if unfit := _unfit(order, account, found):
                        return unfit
                    _drop(order, account, record, found)
            case Step.CREATE:
                record.begin(record.old or "none")
            case _:
                assert_never(step)
        return _create(order, account)


def refill(order: Order, place: Listed) -> Deployed | Planned | Refusal:
    """Deploy to the workspace that was made anew, which ends the recreation."""
    answer = deploying.deploy(dataclasses.replace(order, place=place))
    if isinstance(answer, Deployed):
        Record.of(order.settings).end()
    return answer


def _unfit(order: Order, account: Account, found: Listed) -> Refusal | None:
    """Say why it should stay, now that it still could: what is gone cannot be asked."""
    project = resources.prepare(
        order.folder / "files", order.settings, into=order.folder / "proof", where=order.where
    )
    end = time.monotonic() + order.seconds
    make_tb(order, project.folder, end, {}, with_token=False).check_version()
    there = {resource.name for resource in _client(order, found).resources()}
    if unknown := guard.mostly_unknown(there, project.names):
        return Refusal(unknown, "it is another project's: nothing is dropped")
    return (
        _another(order, found)
        or guard.another_of_ours(found, ids_of_others(order))
        or _uncreatable(order, account)
    )


def _client(order: Order, found: Listed) -> Client:
    return Client.of(order.settings, order.where, found.token)


def _another(order: Order, found: Listed) -> Refusal | None:
    """Say so when the configured token leads to another one than the user's; a dead one to none."""
    try:
        identity = Client.of(order.settings, order.where).identity()
    except DataOpsError:
        return None
    return guard.wrong_workspace(order.settings, identity, order.where) or guard.wrong_place(
        found, identity
    )


def _uncreatable(order: Order, account: Account) -> Refusal | None:
    """Try whether one may be made at all: Classic lets Enterprise organizations only."""
    if order.settings.dialect is Dialect.FORWARD:
        return None
    name = order.settings.workspace + _PROBE
    if left := account.find(name):
        if _client(order, left).resources():
            return Refusal(f"{name} is in the way: it holds something", "it is not ours: rename it")
        account.delete(left)  # of a call that broke off here
    try:
        account.create(name)
    except ToolError as error:
        if error.retryable:
            raise
        return Refusal(
            f"nothing is dropped, as none could be made: {error.tail}",
            "a Classic workspace can be emptied by `tb workspace clear`, and deployed again",
        )
    if probe := account.find(name):
        account.delete(probe)
    return None


def _drop(order: Order, account: Account, record: Record, found: Listed) -> None:
    record.begin(found.id)
    account.delete(found)
    end = time.monotonic() + _PATIENCE_SECONDS
    while account.find(found.name):
        if time.monotonic() > end:
            problem = f"{found.name} was dropped, and is still shown"
            raise ToolError("tinybird", None, problem, retryable=True, hint=_AGAIN)
        time.sleep(POLL_SECONDS)
    order.on_line(f"{found.name} ({found.id}) is dropped")
    Journal.of(order.settings.host, found.id).forget()


def _create(order: Order, account: Account) -> Listed:
    name = order.settings.workspace
    try:
        made = create(account, name)
    except ToolError as error:
        problem = f"{name} is not there, and could not be made: {error.tail}"
        raise ToolError(
            error.command, error.code, problem, retryable=error.retryable, hint=_AGAIN
        ) from None
    order.on_line(f"{name} ({made.id}) is made")
    return made


def create(account: Account, name: str) -> Listed:
    """Make a workspace, and return it with its token."""
    account.create(name)
    end = time.monotonic() + _PATIENCE_SECONDS
    while (found := account.find(name)) is None or not found.token:
        if time.monotonic() > end:
            problem = f"{name} was made, and the user token does not see it"
            raise ToolError("tinybird", None, problem, retryable=True)
        time.sleep(POLL_SECONDS)
    return found


def contents(settings: Tinybird, where: str) -> str:
    """Say in words what dropping a workspace would lose; asks Tinybird."""
    found = Account.of(settings, where).find(settings.workspace)
    if found is None:
        return f"{settings.workspace} is not there"
    client = Client.of(settings, where, found.token)
    there = client.resources()
    rows = client.rows(r.name for r in there if r.kind is Kind.DATASOURCE)
    return (
        f"{found.name} ({found.id}) at {settings.host} holds {len(there)} resource(s) and"
        f" {sum(rows.values())} row(s); its tokens die with it"
    )
