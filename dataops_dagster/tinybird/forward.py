"""How Forward deploys: check, submit, compare with the plan, and only then put ours in place.

Promotes and discards by id: our own deployment, and the one that it replaced.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from dataops_dagster.errors import ToolError
from dataops_dagster.tinybird import comparing
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.command import Ended
from dataops_dagster.tinybird.journal import Entry
from dataops_dagster.tinybird.model import (
    Deployment,
    DeploymentPlan,
    Kind,
    Operation,
    Refusal,
    Resource,
    Verb,
)
from dataops_dagster.tinybird.site import Site

POLL_SECONDS = 2.0
_DISCARD_SECONDS = 60.0
_JSON = ("--cloud", "--max-depth=20", "--output=json", "deploy")


def check(site: Site, there: Collection[Resource]) -> list[Operation] | Refusal:
    """Ask the server what deploying would do to what is there; writes nothing.

    Raises `ToolError` when it gives no answer.
    """
    # With this flag deletions are told, not refused: whether they may happen is ours to say.
    done = site.tb.ask(*_JSON, "--check", "--allow-destructive-operations")
    told = done.document()
    if done.passed:
        operations = planning.announced(told, (*there, *site.project.resources))
        # The server drops a column, or shortens what is kept, without a word.
        changed = {o.name for o in operations if o.verb is Verb.CHANGE}
        return planning.detailed(operations, comparing.datasources(site, changed))
    if not (errors := _errors(told)):
        raise _unanswered("tb deploy --check", done)
    return Refusal(f"the check says no: {errors}", "mend the data project in its repository")


def _unanswered(command: str, done: Ended) -> ToolError:
    """Return the error of a call without an answer: nobody said no, so nothing is rolled back."""
    hint = "the server gave no answer that tells why: try again in a while"
    return ToolError(command, done.code, done.told, retryable=True, hint=hint)


def _errors(told: object) -> str:
    listed = told.get("errors") if isinstance(told, dict) else None
    found = [
        f"{error.get('filename') or 'error'}: {error.get('error')}"
        for error in (listed if isinstance(listed, list) else ())
        if isinstance(error, dict)
    ]
    return "; ".join(found)[:900]


def heal(site: Site) -> None:
    """Take away what an attempt of ours left behind, and wait for what is under way.

    Raises `ToolError` for a deployment that waits there and is not ours.
    """
    left = site.journal.read()
    for id_ in filter(None, (left.deployment, left.replaced)):
        found = site.client.deployment(id_)
        if found and not found.live and not found.is_gone:
            site.say(f"deployment {found.id} is left from an attempt that broke off: discarding it")
            discard(site, found.id)
    if left != Entry(names=left.names):
        site.journal.write(Entry(names=left.names))
    while waiting := _not_live(site):
        if not waiting.is_under_way or site.left <= 0:
            raise _in_the_way(waiting)
        time.sleep(POLL_SECONDS)


def _not_live(site: Site) -> Deployment | None:
    found = (d for d in site.client.deployments() if not d.live)
    # One that failed or is deleted goes by itself.
    return next((d for d in found if d.status not in ("deleted", "failed")), None)


def _in_the_way(found: Deployment) -> ToolError:
    return ToolError(
        "tinybird",
        None,
        f"deployment {found.id} ({found.status}) stands in the way, and is not ours",
        hint="whoever made it: promote it by `tb --cloud deployment promote`, or discard it by"
        " `tb --cloud deployment discard`",
    )


def deploy(site: Site, plan: DeploymentPlan) -> str | Refusal:
    """Deploy as planned; returns what went live. Until then what was live stays so.

    Raises `ToolError` when it was not taken, though the check was passed just before.
    """
    before = site.journal.read()
    begun = dataclasses.replace(before, begun=site.order.commit, deployment="")
    site.journal.write(begun)
    deletes = any(o.verb is Verb.DELETE for o in plan.operations)
    flag = ("--allow-destructive-operations",) if deletes else ()
    done = site.tb.ask(*_JSON, "--no-wait", "--no-auto", *flag)
    told = done.document()
    if not done.passed:
        # What failed at once left nothing; one that was submitted all the same, the next heal finds.
        if not done.timed_out:
            site.journal.write(before)
        raise _unanswered("tb deploy", done)
    # Only tb knows which is ours: one that is there may be somebody's, made since we looked.
    id_ = str(told.get("id") or "")
    if not id_:
        site.journal.write(before)
        if waiting := _not_live(site):
            raise _in_the_way(waiting)
        return "nothing to deploy"
    # Before anything is waited for: whoever comes after a crash must know what is ours.
    begun = dataclasses.replace(begun, deployment=id_)
    site.journal.write(begun)
    site.say(f"deployment {id_} is submitted")
    try:
        answer = _unplanned(plan, told) or _promoted(site, begun)
    except BaseException:
        discard_if_not_live(site, id_)  # an interrupt, or a server that fails us
        raise
    if isinstance(answer, Refusal):
        if discard_if_not_live(site, id_):
            site.journal.write(before)
        return answer
    # Perhaps the one before could not be deleted: the next attempt looks.
    replaced = site.journal.read().replaced
    site.journal.write(Entry(names=tuple(sorted(site.project.names)), replaced=replaced))
    return answer


def _unplanned(plan: DeploymentPlan, told: Mapping[str, Any]) -> Refusal | None:
    """Refuse to do other than was planned: the workspace may have changed since the check."""
    submitted, planned = _done(planning.announced(told, ())), _done(plan.operations)
    if submitted == planned:
        return None
    named = [f"not {verb} {name}" for verb, _, name in sorted(planned - submitted)]
    named += [f"{verb} {name}" for verb, _, name in sorted(submitted - planned)]
    return Refusal(
        f"it would do other than its plan said: {', '.join(named)[:900]}",
        "the workspace has changed meanwhile: what was live still is; deploy again",
    )


def _done(operations: Iterable[Operation]) -> set[tuple[str, str, str]]:
    """Return what happens to which resource; what kind of pipe it is, Forward does not say."""
    other = (Kind.DATASOURCE, Kind.CONNECTION)
    kinds = ((o, o.kind if o.kind in other else Kind.PIPE) for o in operations)
    return {(o.verb.value, kind.value, o.name) for o, kind in kinds if o.verb is not Verb.SEED}


def _promoted(site: Site, begun: Entry) -> str | Refusal:
    """Put our deployment, once it is ready, in the place of the live one, which is deleted then."""
    id_ = begun.deployment
    if refusal := _follow(site, id_, lambda found: found.is_ready):
        return refusal
    old = next((d.id for d in site.client.deployments() if d.live and d.id != id_), "")
    site.journal.write(dataclasses.replace(begun, replaced=old))
    site.client.set_live(id_)
    if refusal := _follow(site, id_, lambda found: found.live):
        return refusal
    if old:
        discard_if_not_live(site, old)
    _wait_for_the_old(site)
    return f"deployment {id_} is live"


def _follow(site: Site, id_: str, until: Callable[[Deployment], bool]) -> Refusal | None:
    """Wait until our deployment is as far as that, or is not to be."""
    status = ""
    while site.left > 0:
        found = site.client.deployment(id_)
        if found and found.status != status:
            status = found.status
            site.say(f"deployment {id_}: {'live' if found.live else status}")
        if found is None or found.is_gone:
            errors = "; ".join(found.errors) if found else ""
            return Refusal(
                f"deployment {id_} failed: {errors or status or 'it is gone'}",
                "what was live still is; mend the data project, or deploy again",
            )
        if until(found):
            return None
        time.sleep(POLL_SECONDS)
    return Refusal(
        f"deployment {id_} was not live at the deadline ({status}), and was discarded",
        "set a longer deadline; what was live still is",
    )


def _wait_for_the_old(site: Site) -> None:
    """Wait until the deployment before is gone, but not for ever: the next one waits again."""
    end = time.monotonic() + min(site.left, _DISCARD_SECONDS)
    while time.monotonic() < end and any(not d.live for d in site.client.deployments()):
        time.sleep(POLL_SECONDS)


def discard_if_not_live(site: Site, id_: str) -> bool:
    """Discard a deployment, unless it is live; False where that is left to the next attempt."""
    try:
        found = site.client.deployment(id_)
        if found and not found.live and found.status != "deleted":
            discard(site, id_)
    except ToolError as error:
        site.say(f"deployment {id_} could not be discarded, the next attempt will: {error.tail}")
        return False
    return True


def discard(site: Site, id_: str) -> None:
    """Delete one deployment of ours, and see that it is gone."""
    site.client.discard(id_)
    end = time.monotonic() + _DISCARD_SECONDS
    while time.monotonic() < end:
        found = site.client.deployment(id_)
        if found is None or found.status == "deleted":
            site.say(f"deployment {id_} is discarded")
            return
        time.sleep(POLL_SECONDS)
    problem = f"deployment {id_} was to be discarded, and is still there"
    raise ToolError("tinybird", None, problem, retryable=True)
