"""Where workspaces' branches and releases are, as their servers say it now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

from dataops_dagster import release, urls
from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.git import LOOKUP_SECONDS, Access, branch_ref
from dataops_dagster.remotes import Remote
from dataops_dagster.settings import Project, Workspace

_LOOKUPS = 8
"""How many servers are asked at once."""

ALL_SECONDS = 25.0
"""What looking up all heads may take: Dagster gives a sensor's look a minute, and more is to be done."""

_SILENCE = 0.9  # of a look-up's deadline


@dataclass(frozen=True)
class Head:
    """Where a workspace's branch stands.

    `annotated` maps each annotated tag among the releases to its commit, `releases` only those with
    a release's name; `tags` are all names that stand there.
    """

    workspace: str
    commit: str | None
    annotated: Mapping[str, str]
    releases: Mapping[str, str]
    tags: frozenset[str]

    @property
    def release(self) -> str | None:
        """The tag of the promotion that made this head, or None when it came another way."""
        tags = sorted(tag for tag, commit in self.releases.items() if commit == self.commit)
        return tags[-1] if tags else None


Heads: TypeAlias = Mapping[str, Head | DataOpsError]
"""What was looked up, by workspace; an error where its server failed us."""


def look_up(project: Project, workspace: Workspace, seconds: float | None = None) -> Head:
    """Ask the server where a workspace's branch and releases are, within `LOOKUP_SECONDS`."""
    ref, prefix = branch_ref(workspace.branch), release.prefix(project.name, workspace.name)
    refs = Remote(Access.of(project, workspace)).refs(
        [ref, f"{prefix}/*"], seconds or LOOKUP_SECONDS
    )
    named = {name.removeprefix("refs/tags/"): id_ for name, id_ in refs.items() if name != ref}
    # Only an annotated tag can be a release, and only under the name that we would give it; git
    # tells the commit it points to as NAME^{}.
    pointed = {n.removesuffix("^{}"): id_ for n, id_ in named.items() if n.endswith("^{}")}
    place = {"project": project.name, "target": workspace.name}
    releases = {name: id_ for name, id_ in pointed.items() if release.is_tag(name, id_, **place)}
    tags = frozenset(name for name in named if not name.endswith("^{}"))
    return Head(workspace.name, refs.get(ref), pointed, releases, tags)


def look_up_all(
    project: Project, names: Iterable[str] | None = None
) -> dict[str, Head | DataOpsError]:
    """Look up several workspaces at once; a server that fails us spoils only its own answers.

    A host that is silent once is not waited for again, and nobody is asked after `ALL_SECONDS`.
    """
    workspaces = [project.workspaces[name] for name in names or project.workspaces]
    end, silent = time.monotonic() + ALL_SECONDS, set[str]()

    def one(workspace: Workspace) -> Head | DataOpsError:
        begun, host = time.monotonic(), _host(workspace)
        seconds = min(LOOKUP_SECONDS, end - begun)
        if host in silent:
            return _not_asked(
                workspace, f"{host} was silent when it was asked for another workspace"
            )
        if seconds <= 0:
            return _not_asked(workspace, f"it was not its turn within {ALL_SECONDS:.0f} s")
        try:
            return look_up(project, workspace, seconds)
        except DataOpsError as error:
            if time.monotonic() - begun > _SILENCE * seconds:
                silent.add(host)
            return error

    turns = _in_turn(workspaces)
    with ThreadPoolExecutor(_LOOKUPS) as pool:
        found = dict(zip((w.name for w in turns), pool.map(one, turns), strict=True))
    return {workspace.name: found[workspace.name] for workspace in workspaces}


def _host(workspace: Workspace) -> str:
    """Return who is asked about a workspace; each repository on this machine is its own."""
    parsed = urls.parse(workspace.repository)
    return parsed.host.lower() if parsed and parsed.host else workspace.repository


def _in_turn(workspaces: Iterable[Workspace]) -> list[Workspace]:
    """Return the first workspace of each host, then the second: all learn soon who is silent."""
    of_host: dict[str, list[Workspace]] = {}
    for workspace in workspaces:
        of_host.setdefault(_host(workspace), []).append(workspace)
    return [w for turn in zip_longest(*of_host.values()) for w in turn if w]


def _not_asked(workspace: Workspace, why: str) -> ToolError:
    what = f"looking up workspaces.{workspace.name}"
    return ToolError(what, None, why, retryable=True, hint="it is asked again at the next look")
