"""How does what a data project defines differ from what a workspace has? Asks, and writes nothing."""

from __future__ import annotations

from collections.abc import Collection

from dataops_dagster.tinybird import resources
from dataops_dagster.tinybird.definitions import (
    Definition,
    Difference,
    of_file,
    of_queries,
    of_tables,
)
from dataops_dagster.tinybird.model import Kind, Resource
from dataops_dagster.tinybird.site import Site


def datasources(site: Site, names: Collection[str]) -> dict[str, Difference]:
    """Return how data sources differ, of those named that are in both; those that do not are left out.

    Raises `ToolError`.
    """
    both = [r for r in site.project.resources if r.kind is Kind.DATASOURCE and r.name in names]
    pairs = ((r, site.client.datasource(r.name)) for r in both)
    found = {r.name: of_tables(there, _ours(site, r)) for r, there in pairs if there}
    return {name: difference for name, difference in found.items() if difference}


def pipes(site: Site, names: Collection[str]) -> dict[str, Difference]:
    """Return how pipes differ, of those named that are in both; raises `ToolError`."""
    there, other = site.client.pipes(), (Kind.DATASOURCE, Kind.CONNECTION)
    both = [r for r in site.project.resources if r.kind not in other and r.name in names]
    found = {r.name: of_queries(there[r.name], _ours(site, r)) for r in both if r.name in there}
    return {name: difference for name, difference in found.items() if difference}


def _ours(site: Site, resource: Resource) -> Definition:
    return of_file(resources.definition(site.project, resource))
