"""The story of one deployment to Tinybird: open, heal, plan, judge, deploy, seed, share.

Every step takes what the last one returned. Nothing is written before the plan was judged.
"""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import assert_never

from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.tinybird import classic, forward, guard, seeding, sharing
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.journal import Record
from dataops_dagster.tinybird.model import DeploymentPlan, Refusal
from dataops_dagster.tinybird.site import Order, Site, opened


@dataclass(frozen=True)
class Planned:
    """What a deployment would do, and why it would not be done as it stands."""

    plan: DeploymentPlan
    refusal: Refusal | None


@dataclass(frozen=True)
class Deployed:
    """The workspace serves the data project."""

    plan: DeploymentPlan
    detail: str


def plan(order: Order) -> Planned | Refusal:
    """Return what a deployment would do; writes nothing at Tinybird.

    Raises `DataOpsError` when it could not be found out.
    """
    site = opened(order)
    return site if isinstance(site, Refusal) else _planned(site)


def deploy(order: Order) -> Deployed | Planned | Refusal:
    """Deploy a commit's data project; the answer is `Planned` when its plan was refused.

    Raises `DataOpsError` when it could not be found out whether it can be.
    """
    site = opened(order)
    if isinstance(site, Refusal):
        return site
    with site.journal.locked(f"the deployment of {order.commit[:12]}"):
        if order.settings.dialect is Dialect.FORWARD:
            forward.heal(site)
        found = _planned(site)
        if isinstance(found, Refusal) or found.refusal:
            return found
        answer = _carried_out(site, found.plan)
        if isinstance(answer, Deployed) and order.place is None:
            Record.of(order.settings).end()  # of a recreation that broke off: this ended it
        return answer


def _planned(site: Site) -> Planned | Refusal:
    order, unknown = site.order, tuple[str, ...]()
    # Before tb reads a pipe whose data source is not there yet, and calls that a mistake.
    if lacking := sharing.missing(site.client, site.identity, order.settings.uses):
        return lacking
    there = site.client.resources()
    match order.settings.dialect:
        case Dialect.FORWARD:
            checked = forward.check(site, there)
            if isinstance(checked, Refusal):
                return checked
            operations = checked
        case Dialect.CLASSIC:
            operations, unknown = classic.compare(site, there)
        case _:
            assert_never(order.settings.dialect)
    made = planning.signed(
        DeploymentPlan(
            site.identity.id, order.tree, (*operations, *seeding.planned(site)), unknown
        ),
        order.settings.host,
    )
    site.say(f"plan {made.digest}: {planning.summary(made)}")
    return Planned(made, _refusal(site, made, {r.name for r in there}))


def _refusal(site: Site, plan: DeploymentPlan, there: set[str]) -> Refusal | None:
    order = site.order
    return (
        guard.foreign(
            there,
            site.project.names,
            plan,
            target=order.target if order.is_gated else "",
            approved=order.approved,
        )
        or guard.unsafe(
            order.settings,
            plan,
            where=order.where,
            target=order.target,
            approved=order.approved,
        )
        or (classic.still_read(site, plan) if order.settings.dialect is Dialect.CLASSIC else None)
    )


def _carried_out(site: Site, plan: DeploymentPlan) -> Deployed | Refusal:
    answer = _served(site, plan)
    if isinstance(answer, Refusal):
        return answer
    refusal = seeding.seed(site, plan) or sharing.share(site)
    if refusal:
        return refusal
    return Deployed(plan, f"{answer}: {planning.summary(plan)}")


def _served(site: Site, plan: DeploymentPlan) -> str | Refusal:
    if site.order.settings.dialect is Dialect.CLASSIC:
        return classic.deploy(site, plan)
    if not any(o.verb.value != "seed" for o in plan.operations):
        return "nothing to deploy"
    return forward.deploy(site, plan)
