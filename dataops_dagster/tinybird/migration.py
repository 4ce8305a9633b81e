"""From prefixes to workspaces: which resources of a workspace are whose, as a plan, and the move.

Nothing is deleted anywhere, and nothing is appended to a data source that has other rows.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from typing_extensions import assert_never

from dataops_dagster.settings_tinybird import Fixtures
from dataops_dagster.tinybird import copying, deploying, guard, resources
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Identity, Kind, Refusal, Resource
from dataops_dagster.tinybird.resources import DataProject
from dataops_dagster.tinybird.site import Order, opened, staged

_SEPARATORS = ("__", "_")


@dataclass(frozen=True)
class Move:
    """One resource under its old name and its new one; rows are counted where there are any.

    `filled_by` is the pipe that fills it by itself from what is copied.
    """

    old: str
    new: str
    kind: Kind
    filled_by: str = ""
    rows: int | None = None
    rows_there: int | None = None

    @property
    def is_copied(self) -> bool:
        """Whether its rows are copied."""
        return self.kind is Kind.DATASOURCE and not self.filled_by

    @property
    def answer(self) -> str:
        """What is to be done with it, or was."""
        if self.kind is not Kind.DATASOURCE:
            return "deploy"
        same = self.rows == self.rows_there
        if self.filled_by:
            return "same" if same else f"filled by {self.filled_by}"
        if same:
            return "same"
        return "differs" if self.rows_there else "copy"


@dataclass(frozen=True)
class Migration:
    """What one prefix becomes: moves into one workspace, and what of it the project does not know."""

    prefix: str
    workspace: str
    moves: tuple[Move, ...]
    unknown: tuple[str, ...]

    @property
    def is_done(self) -> bool:
        """Whether all rows that are copied are there."""
        return all(move.answer == "same" for move in self.moves if move.is_copied)


def split(names: Iterable[str], prefixes: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the names that begin with each prefix, and what is left without it.

    A prefix ends with two underscores, as `tb push --prefix` wrote them, or with one. The longest
    prefix of a name is its own.
    """
    found: dict[str, dict[str, str]] = {prefix: {} for prefix in prefixes}
    for name in names:
        fits = [
            (len(prefix) + len(end), prefix, name.removeprefix(prefix + end))
            for prefix in prefixes
            for end in _SEPARATORS
            if name.startswith(prefix + end) and name.removeprefix(prefix).strip("_")
        ]
        if fits:
            _, prefix, rest = max(fits)
            found[prefix][name] = rest
    return found


def plan(
    old: Client, order: Order, prefix: str, *, there: Collection[Resource], names: dict[str, str]
) -> Migration | Refusal:
    """Return what one prefix becomes; writes nothing. `names` are its resources without it.

    Raises `DataOpsError` when it could not be found out.
    """
    site = opened(order)
    if isinstance(site, Refusal):
        return site
    if unfit := _unfit(old.identity(), site.identity, prefix, names, site.project):
        return unfit
    filled = resources.filled(site.project)
    known = site.project.names
    moves = tuple(
        Move(r.name, names[r.name], r.kind, filled.get(names[r.name], ""))
        for r in there
        if names.get(r.name) in known
    )
    unknown = tuple(sorted(name for name, rest in names.items() if rest not in known))
    return counted(Migration(prefix, order.target, moves, unknown), old, site.client)


def _unfit(
    old: Identity, new: Identity, prefix: str, names: dict[str, str], project: DataProject
) -> Refusal | None:
    if old.id == new.id:
        return Refusal(
            f"{new.name} holds the prefixes itself", "name another workspace for each of them"
        )
    if not names:
        return Refusal(f"{old.name} has nothing that begins with {prefix}_", "mend the prefix")
    new_names = Counter(names.values())
    if twice := sorted(name for name, rest in names.items() if new_names[rest] > 1):
        return Refusal(f"{' and '.join(twice)} would have one name", "rename one of them first")
    if told := guard.mostly_unknown(names.values(), project.names):
        return Refusal(told, f"is {prefix} a prefix of this data project?")
    return None


def counted(made: Migration, old: Client, new: Client) -> Migration:
    """Return a migration with the rows as they are now."""
    tables = [move for move in made.moves if move.kind is Kind.DATASOURCE]
    before, after = old.rows(m.old for m in tables), new.rows(m.new for m in tables)
    moves = tuple(
        dataclasses.replace(m, rows=before.get(m.old), rows_there=after.get(m.new, 0))
        if m in tables
        else m
        for m in made.moves
    )
    return dataclasses.replace(made, moves=moves)


def carry_out(old: Client, order: Order, made: Migration) -> Migration | Refusal:
    """Deploy the data project, copy the rows, and count them; again, it goes on where it broke off."""
    end = time.monotonic() + order.seconds
    bare: dict[str, Any] = {"fixtures": Fixtures.NEVER}  # they would stand among the rows
    order = dataclasses.replace(order, settings=order.settings.model_copy(update=bare))
    answer = deploying.deploy(staged(order, "deploy", end))
    match answer:
        case Refusal():
            return answer
        case Planned():
            assert answer.refusal  # else it would have been carried out
            return answer.refusal
        case Deployed():
            site = opened(staged(order, "copy", end))
        case _:
            assert_never(answer)
    if isinstance(site, Refusal):
        return site
    with site.journal.locked("a migration"):
        for move in made.moves:
            refusal = copying.copy(old, site, move.old, move.new) if move.is_copied else None
            if refusal:
                return refusal
    return counted(made, old, site.client)
