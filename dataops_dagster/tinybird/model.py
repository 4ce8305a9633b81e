"""What we find at Tinybird and decide about it, as frozen values; no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


@dataclass(frozen=True)
class Identity:
    """The workspace that a token belongs to; `commit` is what Classic's release says, if anything."""

    id: str
    name: str
    is_branch: bool = False
    commit: str = ""


@dataclass(frozen=True)
class Listed:
    """A workspace, or a branch of one, that a token sees; with its own token."""

    id: str
    name: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Branch:
    """An ephemeral copy of a workspace; `created` is None where the server does not say."""

    id: str
    name: str
    created: datetime | None


@dataclass(frozen=True)
class Deployment:
    """A deployment at Tinybird: one is live, and at most one other is on its way or waits."""

    id: str
    live: bool
    status: str
    errors: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether it is live, or could be as soon as somebody wants it."""
        return self.live or self.status == "data_ready"

    @property
    def is_gone(self) -> bool:
        """Whether it is no longer there, or about to be."""
        return self.status in ("deleted", "deleting", "failed")

    @property
    def is_under_way(self) -> bool:
        """Whether time alone changes it."""
        return not self.live and self.status not in ("data_ready", "deleted", "failed")


class Kind(str, Enum):
    """What a resource of a data project is."""

    DATASOURCE = "datasource"
    PIPE = "pipe"
    ENDPOINT = "endpoint"
    MATERIALIZATION = "materialization"
    COPY = "copy"
    SINK = "sink"
    CONNECTION = "connection"


@dataclass(frozen=True)
class Resource:
    """A resource of a data project, and the file that defines it."""

    name: str
    kind: Kind
    path: str = ""


class Verb(str, Enum):
    """What a deployment does to a resource."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    SEED = "seed"


@dataclass(frozen=True)
class Operation:
    """One thing that a deployment does to one resource; `detail` says in words what changes.

    One that is `lossy` changes a data source so that rows, or values in them, may be gone.
    """

    verb: Verb
    kind: Kind
    name: str
    detail: str = ""
    is_lossy: bool = False

    @property
    def is_destructive(self) -> bool:
        """Whether something that is served or stored is gone after it."""
        return self.verb is Verb.DELETE or self.is_lossy


@dataclass(frozen=True)
class DeploymentPlan:
    """What a deployment would do to one workspace; `digest` names exactly it.

    `tree` is that of the commit. `unknown` are resources of the workspace that the data project
    does not define and that stay.
    """

    workspace_id: str
    tree: str
    operations: tuple[Operation, ...]
    unknown: tuple[str, ...] = ()
    digest: str = ""

    @property
    def destructive(self) -> tuple[Operation, ...]:
        """The operations after which something is gone."""
        return tuple(o for o in self.operations if o.is_destructive)


@dataclass(frozen=True)
class Refusal:
    """No: the deployment does not happen as it stands; `hint` says what would change that.

    `waits_for` is the digest of the plan whose approval would, `origin` the workspaces at Tinybird
    that have to be deployed before.
    """

    reason: str
    hint: str
    waits_for: str = ""
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.reason} (hint: {self.hint})"
