"""Fixtures: which would be appended, and appending them; never over rows that are there."""

from __future__ import annotations

from dataops_dagster.settings_tinybird import Dialect, Fixtures
from dataops_dagster.tinybird import plan as planning
from dataops_dagster.tinybird.command import Ended
from dataops_dagster.tinybird.model import DeploymentPlan, Operation, Refusal, Verb
from dataops_dagster.tinybird.site import Site


def planned(site: Site) -> list[Operation]:
    """Return the fixtures that a deployment would append."""
    if site.order.settings.fixtures is Fixtures.NEVER or not site.project.fixtures:
        return []
    names = {name for name, _ in site.project.fixtures}
    return planning.seeds(site.project.fixtures, site.client.rows(sorted(names)))


def seed(site: Site, plan: DeploymentPlan) -> Refusal | None:
    """Append what the plan says, if it is still to be appended: somebody may have written since."""
    if not any(o.verb is Verb.SEED for o in plan.operations):
        return None
    if not planned(site):
        site.say("no fixture is appended: there are rows now")
        return None
    for name, path in site.project.fixtures:
        done = append(site, name, path)
        if not done.passed:
            return Refusal(
                f"deployed, but the fixture {path} was not appended: {done.told}",
                f"{name} may hold a part of it now, and what has rows is not filled again: truncate the"
                " data sources that have fixtures, mend the file, and deploy again",
            )
    return None


def append(site: Site, datasource: str, path: str) -> Ended:
    """Append a file, seen from the data project's folder, to a data source."""
    forward = site.order.settings.dialect is Dialect.FORWARD
    how = ("--cloud",) if forward else ()
    what = (f"--file={path}",) if forward else (f"./{path}",)
    return site.tb.run(*how, "datasource", "append", datasource, *what)
