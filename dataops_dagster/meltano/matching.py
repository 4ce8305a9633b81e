"""Which paths of a tree the patterns of `include_paths` take in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

_LONGEST = 500


class BadPattern(ValueError):  # noqa: N818  # a word for the pattern, like Unkeepable
    """A pattern that Meltano would not take; or one that leaves the project."""


def matching(paths: Iterable[str], pattern: str) -> list[str]:
    """Return the paths that a pattern takes in, sorted; `**` stands for any number of folders.

    Raises BadPattern.
    """
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    if pattern.startswith("/") or ".." in parts:
        raise BadPattern("it leaves the project")
    if not parts or len(pattern) > _LONGEST or any("**" in p and p != "**" for p in parts):
        raise BadPattern("it is no pattern")
    compiled = [None if part == "**" else re.compile(translate(part)) for part in parts]
    return sorted(path for path in paths if _takes_in(compiled, path.split("/")))


def folders(paths: Iterable[str]) -> set[str]:
    """Return all folders that paths stand in."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _takes_in(pattern: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    """Follow all ways through the pattern at once, so that many `**` cost no more than few."""
    states = _skipped({0}, pattern)
    for name in names:
        states = {
            state if pattern[state] is None else state + 1
            for state in states
            if state < len(pattern) and _fits(pattern[state], name)
        }
        states = _skipped(states, pattern)
        if not states:
            return False
    return len(pattern) in states


def _fits(part: re.Pattern[str] | None, name: str) -> bool:
    return part is None or part.match(name) is not None


def _skipped(states: set[int], pattern: Sequence[re.Pattern[str] | None]) -> set[int]:
    """Add where a `**` may stand for no folder."""
    found = set(states)
    for state in sorted(states):
        while state < len(pattern) and pattern[state] is None:  # walks on
            state += 1  # noqa: PLW2901  # as above
            found.add(state)
    return found
