"""Ephemeral branches of a workspace: which are ours, which are over, and one for a while.

A branch is ours when its name says so, in full; no other is ever touched.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone

from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.settings_tinybird import Branches
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.model import Branch, Listed, Refusal

POLL_SECONDS = 2.0
_STAMP = "%Y%m%d_%H%M%S"


def name_for(prefix: str, now: datetime) -> str:
    """Return a name for a new branch: the prefix, the time, and something that no other has."""
    return f"{prefix}_{now.astimezone(timezone.utc).strftime(_STAMP)}_{secrets.token_hex(3)}"


def ours(found: Iterable[Branch], prefix: str) -> list[Branch]:
    """Return the branches whose names we made."""
    return [branch for branch in found if _stamp(branch.name, prefix)]


def expired(found: Iterable[Branch], rules: Branches, now: datetime) -> list[Branch]:
    """Return the branches of ours that are older than they may be."""
    return [b for b in ours(found, rules.prefix) if now - _made(b, rules.prefix) > rules.ttl]


def _made(branch: Branch, prefix: str) -> datetime:
    # The server's time may be another one than ours: it is asked first, but needs not answer.
    return branch.created or datetime.strptime(_stamp(branch.name, prefix), _STAMP).replace(
        tzinfo=timezone.utc
    )


def _stamp(name: str, prefix: str) -> str:
    """Return the time in a name of ours; empty for another one."""
    found = re.fullmatch(re.escape(prefix) + r"_([0-9]{8}_[0-9]{6})_[0-9a-f]{6}", name)
    try:
        return datetime.strptime(found[1], _STAMP).strftime(_STAMP) if found else ""  # noqa: DTZ007
    except ValueError:
        return ""


def reap(client: Client, rules: Branches, now: datetime) -> list[Branch]:
    """Delete the branches of ours that are over; returns them."""
    found = expired(client.branches(), rules, now)
    for branch in found:
        client.delete_branch(branch.id)
    return found


@contextlib.contextmanager
def lent(
    client: Client, rules: Branches, *, now: datetime, end: float, say: Callable[[str], None]
) -> Iterator[Listed | Refusal]:
    """Give a new branch, and destroy it afterwards, however that ends.

    `end` is when waiting for it is over, in seconds of the monotonic clock. What is over goes first;
    a refusal says that there are too many. Raises `ToolError` for one that could not be destroyed.
    """
    for branch in reap(client, rules, now):
        say(f"branch {branch.name} was left behind, and is deleted")
    if too_many := _too_many(client, rules):
        yield too_many
        return
    name = name_for(rules.prefix, now)
    try:
        yield _made_ready(client, name, rules, end=end, say=say)
    except BaseException:
        with contextlib.suppress(DataOpsError):  # what went wrong before matters more
            _destroy(client, name, say)
        raise
    _destroy(client, name, say)


def _too_many(client: Client, rules: Branches) -> Refusal | None:
    there = [branch.name for branch in ours(client.branches(), rules.prefix)]
    if len(there) < rules.max:
        return None
    return Refusal(
        f"there are {len(there)} of at most {rules.max} branches of ours: {', '.join(there)}",
        f"wait for those runs; one that was left is deleted when it is older than {rules.ttl};"
        " tinybird.branches.max allows more",
    )


def _made_ready(
    client: Client, name: str, rules: Branches, *, end: float, say: Callable[[str], None]
) -> Listed | Refusal:
    try:
        job = client.create_branch(name, with_rows=rules.last_partition)
    except ToolError as error:
        if error.retryable or error.code is None:
            raise
        return Refusal(
            f"branch {name} was not made: {error.tail}",
            "remove branches that nobody needs: `tb branch ls`, `tb branch rm NAME`",
        )
    while True:
        status, problem = client.job(job) if job else ("done", "")
        if status == "error":
            return Refusal(f"branch {name} was not made: {problem}", "do it again")
        if status == "done" and (found := _look_up(client, name)):
            say(f"branch {name} ({found.id}) is made")
            return found
        if time.monotonic() > end:
            raise ToolError("tinybird", None, f"branch {name} is not ready yet", retryable=True)
        time.sleep(POLL_SECONDS)


def _look_up(client: Client, name: str) -> Listed | None:
    branch = next((b for b in client.branches() if b.name == name), None)
    token = client.token_of_branch(branch.id) if branch else ""
    return Listed(branch.id, name, token) if branch and token else None


def _destroy(client: Client, name: str, say: Callable[[str], None]) -> None:
    """Delete a branch by its name, as it may be there without our having heard of its id."""
    try:
        for branch in client.branches():
            if branch.name == name:
                client.delete_branch(branch.id)
                say(f"branch {name} is deleted")
    except DataOpsError as error:
        problem = f"branch {name} could not be deleted: {error}"
        say(problem)
        hint = f"remove it by `tb branch rm {name}`; or the sensor does when it is over"
        raise ToolError("tinybird", None, problem, hint=hint) from None
