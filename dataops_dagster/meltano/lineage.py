"""What each plug-in's entry inherits from: another entry, or a definition. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dataops_dagster.meltano.entries import Base, Entry, Key
from dataops_dagster.meltano.including import Tree, Written
from dataops_dagster.meltano.locks import locked
from dataops_dagster.meltano.model import Place, Unreadable
from dataops_dagster.meltano.shapes import Malformed

_LONGEST = 50


@dataclass(frozen=True)
class Parent:
    """What an entry inherits from: `chain` are the entries above it, the nearest first.

    `base` is the definition above them all. Where there is none, `failure` says why.
    """

    chain: tuple[Entry, ...] = ()
    base: Base | None = None
    failure: str = ""
    is_unlocked: bool = False


def namespace_of(entry: Entry, parent: Parent) -> str:
    """Return the namespace that an entry has."""
    own = entry.raw.get("namespace")
    if own is not None:
        return str(own)
    if entry.inherits:
        return entry.name.replace("-", "_")
    return parent.base.namespace if parent.base else ""


def variant_of(entry: Entry, parent: Parent) -> str:
    """Return the variant that an entry is of."""
    for one in (entry, *parent.chain):
        if one.raw.get("variant") is not None:
            return str(one.raw["variant"])
    if parent.base and parent.base.variant is not None:
        return parent.base.variant
    last = parent.chain[-1] if parent.chain else entry
    return last.default_variant


def parents(
    found: Sequence[Entry], live: Mapping[Key, Entry], tree: Tree, written: Written
) -> dict[Key, Parent]:
    """Return the parent of each live entry; reads the lock files that are needed."""
    locks = _locks(found, live, tree, written)
    linked = {key: _parent(entry, live, locks) for key, entry in live.items()}
    broken = next((p.failure for k, p in linked.items() if k[0] == "mappers" and p.failure), "")
    for key, entry in live.items():
        if entry.mapping and broken:
            linked[key] = Parent(failure=broken)  # Meltano looks at all mappers for a mapping
        elif entry.mapping and sum(entry.mapping == other.mapping for other in found) > 1:
            linked[key] = Parent(failure=f"there are several mappings {entry.mapping}")
    return linked


def _locks(
    found: Iterable[Entry], live: Mapping[Key, Entry], tree: Tree, written: Written
) -> dict[str, Base | str]:
    wanted = {e.lock_name for e in found if e.custom is None and _above(e, live) is None}
    there = sorted(path for path in wanted if path in tree.kinds)
    return {path: _lock(tree, path, data, written) for path, data in tree.read(there).items()}


def _lock(tree: Tree, path: str, data: bytes | str, written: Written) -> Base | str:
    shown = tree.shown(path)
    problem = Malformed(Place(shown, 1), str(data))
    if isinstance(data, bytes):
        try:
            return locked(shown, data)
        except Malformed as found:
            problem = found
    place = problem.place or Place(shown, 1)
    written.problems.append(Unreadable(place, problem.reason))
    return f"{place.path}:{place.line}: {problem.reason}"


def _above(entry: Entry, live: Mapping[Key, Entry]) -> Entry | None:
    """Return the entry that `inherit_from` names; one that sets its variant has none."""
    if entry.inherits is None or entry.raw.get("variant") is not None:
        return None
    return live.get((entry.type, entry.inherits))


def _parent(entry: Entry, live: Mapping[Key, Entry], locks: Mapping[str, Base | str]) -> Parent:
    chain: list[Entry] = []
    last = entry
    while (above := _above(last, live)) is not None:
        if above is entry or above in chain:
            return Parent(failure=f"{entry.label} inherits from itself")
        if above.mapping:  # Meltano looks at all mappers for a mapping, and so at this one again
            return Parent(failure=f"{entry.label} inherits from the mapping {above.label}")
        if len(chain) >= _LONGEST:
            return Parent(failure=f"{entry.label} inherits over more than {_LONGEST} plug-ins")
        chain.append(above)
        last = above
    if last.custom:
        return Parent(tuple(chain), last.custom)
    return _from_lock(last, tuple(chain), locks)


def _from_lock(last: Entry, chain: tuple[Entry, ...], locks: Mapping[str, Base | str]) -> Parent:
    match locks.get(last.lock_name):
        case None:
            reason = f"there is no definition of {last.inherits or last.name} in {last.lock_name}"
            return Parent(failure=f"{reason}, so Meltano would ask the hub", is_unlocked=True)
        case str() as failure:
            return Parent(failure=failure)
        case Base() as base if last.variant in {"default", "original", base.variant}:
            return Parent(chain, base)
        case Base() as base:
            return Parent(failure=f"{last.lock_name} defines the variant {base.variant}")
