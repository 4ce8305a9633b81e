"""The state of the stand-in: one account with its workspaces, and whose token is whose.

Knows nothing of http; one request at a time may change it.
"""

from __future__ import annotations

import base64
import enum
import json
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone

from dataops_dagster.testing.tinybird.datafiles import Datasource, Pipe
from dataops_dagster.testing.tinybird.engines import Engine, Row, Rows, Table
from dataops_dagster.testing.tinybird.exchange import Json, Refused
from dataops_dagster.testing.tinybird.faults import Faults

EMAIL = "ada@example.com"


def make_token() -> str:
    """Return a new token that looks like one of Tinybird's."""
    told = json.dumps({"u": str(uuid.uuid4()), "id": str(uuid.uuid4()), "host": "local"})
    return f"p.{base64.urlsafe_b64encode(told.encode()).decode().rstrip('=')}.{secrets.token_urlsafe(20)}"


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(sep=" ")


class Dialect(enum.Enum):
    """How a workspace is changed: Classic resource by resource, Forward by whole deployments."""

    CLASSIC = "classic"
    FORWARD = "forward"


class Right(enum.Enum):
    """What a token is for; `READ` tokens have scopes for single resources."""

    USER = "user"
    ADMIN = "admin"
    DEPLOY = "deploy"
    READ = "read"


@dataclass
class Token:
    """A token of a workspace."""

    name: str
    token: str
    scopes: list[Json]

    @property
    def right(self) -> Right:
        """What the token is for."""
        kinds = {scope["type"] for scope in self.scopes}
        if "ADMIN" in kinds:
            return Right.ADMIN
        return Right.DEPLOY if "WORKSPACE:DEPLOY" in kinds else Right.READ


@dataclass
class Deployment:
    """A Forward deployment: the whole project, and how far it is."""

    id: str
    resources: dict[str, Datasource | Pipe]
    changes: Json
    created_at: str
    auto_promote: bool = False
    live: bool = False
    status: str = "calculating"
    looks: int = 0
    error: str | None = None
    errors: list[Json] = field(default_factory=list)


@dataclass
class Workspace:
    """A workspace, or a branch of one (`main` is the id of what it branches from)."""

    name: str
    dialect: Dialect
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    main: str | None = None
    created_at: str = field(default_factory=now)
    resources: dict[str, Datasource | Pipe] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    deployments: list[Deployment] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)
    """Data sources of others that may be read here: `workspace.name` and the id of its workspace."""
    commit: str | None = None
    semver: str = "0.0.0"

    @property
    def space(self) -> str:
        """Where the engine keeps the rows; of a workspace it is the name, for `other.events`."""
        return self.id.replace("-", "_") if self.main else self.name

    @property
    def token(self) -> str:
        """The workspace's admin token."""
        return next(t.token for t in self.tokens.values() if t.right is Right.ADMIN)

    @property
    def datasources(self) -> dict[str, Datasource]:
        """The data sources by name."""
        return {n: r for n, r in self.resources.items() if isinstance(r, Datasource)}

    @property
    def pipes(self) -> dict[str, Pipe]:
        """The pipes by name."""
        return {n: r for n, r in self.resources.items() if isinstance(r, Pipe)}

    def table(self, name: str) -> Table:
        """Return where the rows of a data source are."""
        return Table(self.space, name)

    def id_of(self, name: str) -> str:
        """Return the id of a resource; it stays while the resource does."""
        prefix = "t_" if isinstance(self.resources.get(name), Datasource) else "p_"
        return self.ids.setdefault(name, prefix + secrets.token_hex(16))

    def datasource(self, name_or_id: str) -> Datasource:
        """Return a data source; raises `Refused` when there is none."""
        for name, found in self.datasources.items():
            if name_or_id in (name, self.ids.get(name)):
                return found
        raise Refused(404, f'Data Source "{name_or_id}" does not exist')

    def pipe(self, name_or_id: str) -> Pipe:
        """Return a pipe; raises `Refused` when there is none."""
        for name, found in self.pipes.items():
            if name_or_id in (name, self.ids.get(name)):
                return found
        raise Refused(404, f"The pipe '{name_or_id}' does not exist")


@dataclass(frozen=True)
class Who:
    """Who asks; a user's token has no workspace of its own."""

    right: Right
    workspace: Workspace | None
    name: str


@dataclass
class Account:
    """One user's account in one organization."""

    engine: Engine = field(default_factory=Rows)
    faults: Faults = field(default_factory=Faults)
    organization: str = field(default_factory=lambda: str(uuid.uuid4()))
    user: str = field(default_factory=lambda: str(uuid.uuid4()))
    user_token: str = field(default_factory=make_token)
    workspaces: dict[str, Workspace] = field(default_factory=dict)
    jobs: dict[str, Json] = field(default_factory=dict)
    answers: dict[str, list[Row]] = field(default_factory=dict)
    """What endpoints answer, by name, instead of what the engine would."""
    branch_limit: int = 3
    looks: int = 1
    """How often a deployment is looked at until it is ready."""

    def create(self, name: str, dialect: Dialect, *, main: str | None = None) -> Workspace:
        """Make a workspace or a branch; raises `Refused` when the name is taken."""
        if any(w.name == name and w.main == main for w in self.workspaces.values()):
            raise Refused(400, f"Workspace name '{name}' is already taken")
        made = Workspace(name, dialect, main=main)
        admin = {"type": "ADMIN"}
        made.tokens[f"admin {EMAIL}"] = Token(f"admin {EMAIL}", make_token(), [admin])
        if dialect is Dialect.FORWARD:
            made.deployments.append(
                Deployment("0", {}, {}, made.created_at, live=True, status="data_ready")
            )
        self.workspaces[made.id] = made
        return made

    def delete(self, workspace: Workspace) -> None:
        """Remove a workspace, its branches, its rows and its tokens."""
        for branch in self.branches(workspace):
            self.delete(branch)
        self.engine.forget(workspace.space)
        del self.workspaces[workspace.id]
        for other in self.workspaces.values():
            other.shared = {n: w for n, w in other.shared.items() if w != workspace.id}

    def branches(self, workspace: Workspace) -> list[Workspace]:
        """Return the branches of a workspace, the oldest first."""
        return [w for w in self.workspaces.values() if w.main == workspace.id]

    def mains(self) -> Iterator[Workspace]:
        """Return what is no branch."""
        return (w for w in self.workspaces.values() if w.main is None)

    def find(self, name_or_id: str) -> Workspace:
        """Return a workspace; raises `Refused` when there is none."""
        for found in self.workspaces.values():
            if found.id == name_or_id or (found.name == name_or_id and found.main is None):
                return found
        raise Refused(404, f"Workspace {name_or_id} not found")

    def identify(self, token: str) -> Who | None:
        """Return whose token this is; nobody's, when its workspace is gone."""
        if token == self.user_token:
            return Who(Right.USER, next(self.mains(), None), "user")
        for workspace in self.workspaces.values():
            for held in workspace.tokens.values():
                if token == held.token:
                    return Who(held.right, workspace, workspace.name)
        return None
