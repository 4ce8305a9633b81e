"""What has to hold after a strike and one more attempt; finds each promise that is broken."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.repositories import git
from tests.sweep.acts import TOLD
from tests.sweep.nursery import Ended
from tests.sweep.worlds import TARGETS, World
from tests.telling import processes_of

GRACE_SECONDS = 15.0
"""When its caller was killed, a program has this long: a push may go on for five seconds, then it is asked
to end, and killed five seconds later."""

A_MINUTE = 60.0

_PROBE = re.compile(r"\w{8}")
"""The file of a few bytes by which Python finds out where temporary files may be."""


@dataclass(frozen=True)
class Target:
    """A target's repository: its head, that one's tree, its releases as tag to commit."""

    head: str
    tree: str
    releases: Mapping[str, str]
    line: tuple[str, ...]
    """The commits that the branch had as its head, newest first."""


@dataclass(frozen=True)
class Facts:
    """A world as one finds it: what git holds, what Dagster told, what the platform was asked for."""

    targets: Mapping[str, Target]
    told: Mapping[str, Any] = field(default_factory=dict)
    platform: tuple[str, ...] = ()
    served: str = ""


def look(world: World, ended: Ended | None = None) -> Facts:
    """Look at a world; `ended` is the attempt that told what Dagster knows, if one did."""
    lines = ended.said.splitlines() if ended else []
    told = [line.removeprefix(TOLD) for line in lines if line.startswith(TOLD)]
    log, current = world.platform / "log", world.platform / "current"
    return Facts(
        {name: _target(world.workspace(name).bare) for name in TARGETS},
        json.loads(told[-1]) if told else {},
        tuple(log.read_text().splitlines()) if log.exists() else (),
        current.read_text().strip() if current.exists() else "",
    )


def _target(bare: Path) -> Target:
    form = "--format=%(refname)%00%(objectname)%00%(tree)%00%(*objectname)"
    found = [line.split("\0") for line in git(bare, "for-each-ref", form).splitlines()]
    (branch,) = (fields for fields in found if fields[0] == "refs/heads/main")
    releases = {fields[0]: fields[3] for fields in found if fields[0].startswith("refs/tags/")}
    line = tuple(git(bare, "rev-list", "--first-parent", "refs/heads/main").splitlines())
    return Target(branch[1], branch[2], releases, line)


def broken_at_once(before: Facts, world: World) -> Iterator[str]:
    """Yield what is wrong right after a strike, where nothing is under way any more."""
    end = time.monotonic() + 1
    while processes_of(world.root):  # such as who ends what the killed one started
        if time.monotonic() > end:
            return
        time.sleep(0.02)
    for name, now in look(world).targets.items():
        past = before.targets[name]
        tagged = set(now.releases.values()) - set(past.releases.values())
        if tagged != {now.head} - {past.head}:
            yield f"{name}: branch and release tag were not published together"


def broken(before: Facts, after: Facts, expected: Facts, *, is_same: bool) -> Iterator[str]:
    """Yield what is wrong when all is over; `is_same` says that even the commits have to be the same."""
    for name, now in after.targets.items():
        past, wanted = before.targets[name], expected.targets[name]
        if past.head not in now.line:
            yield f"{name}: moved from {past.head[:12]} to {now.head[:12]}, which is not forward"
        if len(now.line) != len(wanted.line):
            yield f"{name}: {len(now.line)} heads on its branch instead of {len(wanted.line)}"
        if now.tree != wanted.tree or (is_same and now.head != wanted.head):
            yield f"{name}: is at {now.head[:12]} instead of {wanted.head[:12]}"
        if len(now.releases) != len(wanted.releases):
            yield f"{name}: has {len(now.releases)} release tags instead of {len(wanted.releases)}"
        if not set(now.releases.values()) <= set(now.line):
            yield f"{name}: a release is not on its branch"
    yield from _broken_in_dagster(after, expected)


def _broken_in_dagster(after: Facts, expected: Facts) -> Iterator[str]:
    told, wanted = after.told, expected.told
    if not wanted:
        return
    if not told:
        yield "Dagster was not asked to the end"
        return
    for commit in {tuple(found) for found in told["evidence"]} ^ {
        tuple(found) for found in wanted["evidence"]
    }:
        yield f"evidence differs: {commit}"
    served = after.targets["prod"].head if wanted["served"] else None
    if told["served"] != served:
        yield f"Dagster says that {told['served']} is served instead of {served}"
    if served and after.served != served:
        yield f"the platform serves {after.served} instead of {served}"
    if told["deployments"] != wanted["deployments"]:
        yield f"{told['deployments']} deployments were recorded instead of {wanted['deployments']}"
    if len(told["rejected"]) != len(wanted["rejected"]):
        yield f"{told['rejected']} was rejected instead of {wanted['rejected']}"
    if len(told["runs"]) > len(wanted["runs"]) + 1:
        yield f"{len(told['runs'])} runs instead of {len(wanted['runs'])} and one more"


def left_behind(world: World) -> Iterator[str]:
    """Yield what is left of all attempts: processes, temporary files, pieces in the cache."""
    limit = time.monotonic() + GRACE_SECONDS
    while (running := processes_of(world.root)) and time.monotonic() < limit:
        time.sleep(0.05)
    for process in running:
        yield f"a process is left: {process[:200]}"
    for path in (world.root / "tmp").iterdir():
        if not _PROBE.fullmatch(path.name):
            yield f"a temporary file is left: {path.name}"
    cache = world.root / "cache"
    patterns = ("making-*", "*.git/**/*.lock", "*.git/objects/pack/*tmp*")
    for path in (path for pattern in patterns for path in cache.glob(pattern)):
        if path.parent.name == "pack" and time.time() - path.stat().st_mtime < A_MINUTE:
            continue  # a fetch takes it for somebody's who writes still
        yield f"a piece is left in the cache: {path.relative_to(cache)}"


def not_told(ended: Ended, *, codes: tuple[int, ...]) -> Iterator[str]:
    """Yield what is wrong with how an attempt that nobody killed ended."""
    if ended.code is None:
        yield "it hung"
    elif ended.code not in codes:
        yield f"it ended with {ended.code}: {ended.said[-1500:]}"
    elif "Traceback (most recent call last)" in ended.said and TOLD not in ended.said:
        yield f"it showed a traceback: {ended.said[-1500:]}"
