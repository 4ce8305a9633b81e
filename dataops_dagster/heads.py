"""Where workspaces' branches and releases are, as their servers say it now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from dataops_dagster import release
from dataops_dagster.errors import DataOpsError
from dataops_dagster.git import LOOKUP_SECONDS, Access, branch_ref
from dataops_dagster.remotes import Remote
from dataops_dagster.settings import Project, Workspace

_LOOKUPS = 8
"""How many servers are asked at once."""


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


def look_up(project: Project, workspace: Workspace) -> Head:
    """Ask the server where a workspace's branch and releases are."""
    ref, prefix = branch_ref(workspace.branch), release.prefix(project.name, workspace.name)
    refs = Remote(Access.of(project, workspace)).refs([ref, f"{prefix}/*"], LOOKUP_SECONDS)
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
    """Look up several workspaces at once; a server that fails us spoils only its own answer."""
    workspaces = [project.workspaces[name] for name in names or project.workspaces]

    def one(workspace: Workspace) -> Head | DataOpsError:
        try:
            return look_up(project, workspace)
        except DataOpsError as error:
            return error

    with ThreadPoolExecutor(_LOOKUPS) as pool:
        return dict(zip((w.name for w in workspaces), pool.map(one, workspaces), strict=True))
