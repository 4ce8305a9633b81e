"""How tests of the gate set up a target's conditions, decide about it, and read its answers."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from dataops_dagster import config, promotion, rollback
from dataops_dagster.gate.verdicts import nested
from dataops_dagster.model import (
    Decision,
    DecisionKind,
    Held,
    Outcome,
    Plan,
    Promoted,
    Ready,
    Release,
    State,
    Verdict,
)
from tests.conftest import NOW, SHOP, Shop
from tests.repositories import Files, Workspace, git

SECOND = timedelta(seconds=1)
_GATE = "    gate: {environment: staging}\n"
_PROD = "    environment: prod\n"
_STAGING = "    environment: staging\n    upstream"


def configured(shop: Shop, text: str) -> Shop:
    """Return the shop as this `dataops.yaml` has it."""
    path = shop.root / "dataops.yaml"
    path.write_text(text)
    return dataclasses.replace(shop, project=config.load(path))


def gated(shop: Shop, *conditions: str, prod: str = "", staging: str = "") -> Shop:
    """Return the shop with these conditions in prod's gate, and a setting more in workspaces."""
    gate = f"    gate: {{{', '.join(('environment: staging', *conditions))}}}\n"
    text = SHOP.replace(_GATE, gate)
    if prod:
        text = text.replace(_PROD, f"{_PROD}    {prod}\n")
    if staging:
        text = text.replace(_STAGING, f"    {staging}\n{_STAGING}")
    return configured(shop, text)


def stage(shop: Shop, files: Files, message: str = "Change", *, after: int = 0) -> str:
    """Let staging get a commit that a run proves; returns it."""
    shop.staging.commit(files, message)
    shop.prove(shop.staging, after=after)
    return shop.staging.head


def release(shop: Shop, files: Files, message: str = "Change") -> str:
    """Let staging get a commit that a run proves, and prod get that; returns prod's new head."""
    stage(shop, files, message)
    landed(shop.promote("prod"))
    return shop.prod.head


def forwardable(shop: Shop) -> Shop:
    """Let prod's branch be staging's, so that what comes next comes by fast-forward."""
    git(shop.staging.bare, "push", "--quiet", str(shop.prod.bare), "+main:main")
    return shop


def before(shop: Shop, number: int = 1) -> str:
    """Return the head that prod had that many heads ago."""
    return git(shop.prod.bare, "rev-parse", f"main~{number}")


def roll_back(shop: Shop, *, to: str | None = None) -> Release:
    """Roll prod back; returns the release that this is."""
    ready = consider_rollback(shop, to=to)
    assert isinstance(ready, Ready), ready
    done = promotion.publish(shop.project, ready, store=shop.store, now=NOW)
    assert isinstance(done, Promoted), done
    return done.release


def consider_rollback(shop: Shop, target: str = "prod", *, to: str | None = None):
    return rollback.consider(
        shop.project,
        shop.project.workspaces[target],
        store=shop.store,
        to=to,
        by="Ada",
        reason="sales are wrong",
        now=NOW,
    )


def decide(shop: Shop, kind: str, *, by: str = "Ada", at: datetime = NOW, **more) -> Decision:
    """Record what a person decides about prod."""
    made = Decision(
        id=f"{kind}-{len(shop.book.decided) + 1}",
        kind=DecisionKind(kind),
        target="prod",
        by=by,
        reason="said so",
        time=at,
        **more,
    )
    shop.book.decided.append(made)
    return made


def approve(shop: Shop, plan: Plan, **more) -> Decision:
    return decide(shop, "approve", plan=plan.digest, **more)


def prove_plan(shop: Shop, plan: Plan, outcome: Outcome = Outcome.PASSED) -> None:
    """Record a run of what a plan would land, in the upstream's environment."""
    shop.book.record(plan.upstream, plan.commit, plan.tree, outcome)


# --- what is answered -------------------------------------------------------------------------


def landed(answer) -> Plan:
    assert isinstance(answer, Promoted), answer
    return answer.ready.plan


def planned(shop: Shop, **more) -> Plan:
    """Return what would land in prod, if only the gate let it."""
    answer = shop.consider("prod", **more)
    assert isinstance(answer, Ready | Held), answer
    assert answer.plan, answer
    return answer.plan


def held(shop: Shop, condition: str, **more) -> Verdict:
    """Try to promote; expect that exactly this condition holds it up, and that nothing moved.

    Whatever is said of the gate names why and who can change it.
    """
    refs = git(shop.prod.bare, "for-each-ref")
    answer = shop.promote("prod", **more)
    assert isinstance(answer, Held), answer
    assert git(shop.prod.bare, "for-each-ref") == refs
    assert all(verdict.reason and verdict.who for _, verdict in nested(answer.verdicts))
    waiting = [verdict for verdict in answer.verdicts if verdict.state is not State.PASSED]
    assert [verdict.condition for verdict in waiting] == [condition], waiting
    return waiting[0]


def opens_at(shop: Shop, moment: datetime) -> bool:
    """Say whether prod's gate is closed until the moment, and open from then on."""
    closed, then = (shop.consider("prod", now=at) for at in (moment - SECOND, moment))
    return isinstance(closed, Held) and isinstance(then, Ready)


def recorded(shop: Shop, target: str = "prod") -> list[Release]:
    """Return a target's releases, the newest first, as git alone tells them."""
    return promotion.releases(shop.project, shop.project.workspaces[target], store=shop.store)


def record(shop: Shop, target: str = "prod") -> Release:
    """Return the record of the release that a target's head is."""
    head = getattr(shop, target).head
    return next(made for made in recorded(shop, target) if made.commit == head)


def set_back(workspace: Workspace, commit: str) -> None:
    """Move a branch where it does not descend from: what a force push does."""
    git(workspace.bare, "update-ref", "refs/heads/main", commit)
