"""What a target owns (`keep`): paths and single YAML keys that no promotion into it overwrites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from dataops_dagster import yaml_keys
from dataops_dagster.git import Access, TooMuch
from dataops_dagster.objects import Entry
from dataops_dagster.store import Store
from dataops_dagster.yaml_text import Unkeepable

_FILES = ("100644", "100755")


class Absent(Enum):
    """What becomes of a key that the target has and a tree lacks, alone or with its whole file."""

    LEAVE_OUT = "neither is added"
    LET_BE = "the key is added, a file is not"
    REFUSE = "the key is added, and a file that is gone cannot be kept"


@dataclass(frozen=True)
class Rules:
    """Keep rules taken apart: patterns of paths, and keys by the file that they stand in."""

    paths: tuple[str, ...] = ()
    keys: Mapping[str, Sequence[tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Iterable[str]) -> Rules:
        """Read rules as they are configured: `PATH` or `FILE#KEY`."""
        paths: list[str] = []
        keys: dict[str, list[tuple[str, ...]]] = {}
        for rule in rules:
            path, hash_, key = rule.partition("#")
            if hash_:
                keys.setdefault(path, []).append(tuple(key.split(".")))
            else:
                paths.append(path.rstrip("/"))
        return cls(tuple(paths), keys)


def put_in(
    store: Store,
    tree: str,
    own: str,
    rules: Rules,
    *,
    access: Access,
    absent: Absent,
) -> str:
    """Return `tree` with everything that `rules` name as the tree `own` has it, also its absence.

    `absent` says what to do about keys that `own` has and `tree` lacks. Raises `Unkeepable`.
    """
    entries: dict[bytes, Entry | None] = {}
    if rules.paths:
        differences = store.differences(own, tree, *rules.paths)
        entries = {found.path: found.before for found in differences}
    tree = store.write_tree(tree, entries)
    entries = {}
    for path, keys in rules.keys.items():
        ours, theirs = store.entry(own, path), store.entry(tree, path)
        if ours is None or ours == theirs:
            continue
        if theirs is None and absent is not Absent.REFUSE:
            continue
        if theirs is None:
            raise Unkeepable(f"{path} is deleted, and keys in it are the target's own")
        if {ours.mode, theirs.mode} - set(_FILES):
            raise Unkeepable(f"{path} is no plain file on both sides, and keys in it are owned")
        try:
            mine, merged = store.read(ours.id, access), store.read(theirs.id, access)
        except TooMuch:
            raise Unkeepable(f"{path} is too large") from None
        kept = _with_keys(path, merged, mine, keys, absent)
        if kept != merged:
            entries[path.encode()] = Entry(theirs.mode, store.write_blob(kept))
    return store.write_tree(tree, entries)


def _with_keys(
    path: str, merged: bytes, own: bytes, keys: Sequence[tuple[str, ...]], absent: Absent
) -> bytes:
    try:
        if absent is Absent.LEAVE_OUT:
            keys = [key for key in keys if yaml_keys.has(merged, key)]
        return yaml_keys.keep(merged, own, keys)
    except Unkeepable as problem:
        raise Unkeepable(f"{path}: {problem.reason}") from None
