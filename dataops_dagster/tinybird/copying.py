"""Copies the rows of a data source to one of another workspace, in pieces; deletes nothing.

A piece is known by its rows, not by their order: what was copied before is found, and not copied twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from dataops_dagster.tinybird import seeding
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.site import Site

PIECE_ROWS = 50_000


def pieces(rows: int, size: int = PIECE_ROWS) -> Sequence[str]:
    """Return conditions in SQL, each of which about `size` rows fulfil, and each row exactly one."""
    count = -(-rows // size)
    if count <= 1:
        return [""]
    # As one text: the hash of columns is NULL where one of them is, and such a row in no piece.
    row = "cityHash64(toString(tuple(*)))"
    return [f" WHERE {row} % {count} = {number}" for number in range(count)]


def copy(old: Client, site: Site, source: str, target: str) -> Refusal | None:
    """Copy what is not there yet; a refusal says why it cannot go on."""
    columns = (old.columns(source), site.client.columns(target))
    if columns[0] != columns[1]:
        return Refusal(
            f"the columns of {source} and {target} differ", "let the data project define the same"
        )
    for condition in pieces(old.count(source)):
        refusal = _copy(old, site, source, target, condition)
        if refusal:
            return refusal
    return None


def _copy(old: Client, site: Site, source: str, target: str, condition: str) -> Refusal | None:
    wanted, there = old.count(source, condition), site.client.count(target, condition)
    if wanted == there:
        return None
    if there:
        return Refusal(
            f"{target} has {there} rows where {source} has {wanted}: somebody wrote to one of them, or"
            " appending broke off",
            f"nothing is deleted here: truncate {target} yourself, then do it again",
        )
    path = site.project.folder / "piece.csv"
    path.write_bytes(old.table(source, condition))
    done = seeding.append(site, target, path.name)
    path.unlink()
    if not done.passed:
        return Refusal(f"{source} was not copied: {done.told}", "do it again: it goes on from here")
    site.say(f"copied {wanted} rows of {source} to {target}")
    return None
