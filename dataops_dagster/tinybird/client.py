"""Tinybird's API as we need it: who am I, what is there, deployments, branches, rows, sharing.

Every answer is read into values of ours. The token goes in a header, never into a URL. Paths and
answers are those that Tinybird's own command lines (Forward 5.0, Classic 6.5) use.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from dataops_dagster.api import NOT_FOUND, Api
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import RESOURCE_PATTERN, Dialect, Tinybird
from dataops_dagster.text import one_line
from dataops_dagster.tinybird import definitions
from dataops_dagster.tinybird.definitions import Definition
from dataops_dagster.tinybird.model import (
    Branch,
    Deployment,
    Identity,
    Kind,
    Listed,
    Resource,
)

_MOST = 10_000
_NOT_YOURS = (400, 401, 403, NOT_FOUND)
_NODE_KINDS = {
    "endpoint": Kind.ENDPOINT,
    "materialized": Kind.MATERIALIZATION,
    "copy": Kind.COPY,
    "sink": Kind.SINK,
}


def secret(name: str, where: str) -> str:
    """Return a variable's value; raises `ConfigError` when it is not set."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError.at(
            where,
            f"the environment variable {name} is not set",
            "set it where Dagster's processes, or this command, are started",
        )
    return value


@dataclass(frozen=True)
class Client:
    """One workspace at Tinybird, seen with its token."""

    api: Api
    dialect: Dialect

    @classmethod
    def of(cls, settings: Tinybird, where: str, token: str = "") -> Client:
        """Return the client of the workspace configured at the key `where`, or of the given token's.

        Raises `ConfigError` without a token.
        """
        key = f"{where}.token_variable"
        token = token or secret(settings.token_variable, key)
        return cls(_api(settings, key, token), settings.dialect)

    @property
    def _version(self) -> str:
        return "v1" if self.dialect is Dialect.FORWARD else "v0"

    def identity(self) -> Identity:
        """Return the workspace that the token belongs to."""
        try:
            found = _mapping(self.api.get(f"/{self._version}/workspace"))
        except ToolError as error:
            self._explain(error)
            raise
        release = found.get("release")
        commit = release.get("commit") if isinstance(release, dict) else ""
        return Identity(
            _text(found, "id"),
            _text(found, "name"),
            bool(found.get("is_branch")),
            str(commit or ""),
        )

    def _explain(self, error: ToolError) -> None:
        """Say so when the workspace is Classic's, whom Forward's API knows nothing of."""
        if self.dialect is Dialect.CLASSIC or error.code not in _NOT_YOURS:
            return
        try:
            found = self.api.find("/v0/workspace")
        except ToolError:
            return
        if found:
            raise ConfigError.at(
                self.api.where.rpartition(".")[0] + ".dialect",
                f"{one_line(str(found.get('name')))} is no workspace of Forward's: {error.tail}",
                "set dialect: classic, or migrate it",
            ) from None

    def resources(self) -> list[Resource]:
        """Return the data sources and pipes that are there; what others share is none of them."""
        sources = _items(self.api.get("/v0/datasources"), "datasources")
        pipes = _items(self.api.get("/v0/pipes"), "pipes")
        found = [Resource(_text(each, "name"), Kind.DATASOURCE) for each in sources]
        found += [Resource(_text(pipe, "name"), _kind(pipe)) for pipe in pipes]
        return [resource for resource in found if "." not in resource.name]

    def shared_with_us(self) -> set[str]:
        """Return the data sources of others that can be read here, as WORKSPACE.NAME."""
        sources = _items(self.api.get("/v0/datasources"), "datasources")
        return {name for each in sources if "." in (name := _text(each, "name"))}

    def rows(self, datasources: Iterable[str]) -> dict[str, int]:
        """Count the rows of data sources; one that is not there is left out."""
        return {name: self.count(name) for name in datasources if self.columns(name) is not None}

    def columns(self, datasource: str) -> tuple[tuple[str, str], ...] | None:
        """Return the names and types of a data source's columns; None when it is not there."""
        found = self.api.find(f"/v0/datasources/{_named(datasource)}")
        if found is None:
            return None
        columns = _mapping(found).get("columns")
        listed = columns[:_MOST] if isinstance(columns, list) else []
        return tuple((_text(c, "name"), _text(c, "type")) for c in listed if isinstance(c, dict))

    def datasource(self, name: str) -> Definition | None:
        """Return what a data source is; None when it is not there."""
        found = self.api.find(f"/v0/datasources/{_named(name)}")
        return None if found is None else definitions.of_datasource(_mapping(found))

    def pipes(self) -> dict[str, Definition]:
        """Return what the pipes are that are there, by names."""
        found = _items(self.api.get("/v0/pipes"), "pipes")
        return {_text(pipe, "name"): definitions.of_pipe(pipe) for pipe in found}

    def count(self, datasource: str, condition: str = "") -> int:
        """Count the rows of a data source, or those of a condition in SQL."""
        query = f"SELECT count() AS rows FROM {_named(datasource)}{condition} FORMAT JSON"  # noqa: S608  # a name, as checked
        rows = _items(self.api.get("/v0/sql", {"q": query}), "data")
        if len(rows) != 1:
            raise _unclear(datasource)
        try:
            return int(rows[0].get("rows"))  # type: ignore[arg-type]  # told just below
        except (TypeError, ValueError):
            raise _unclear(datasource) from None

    def table(self, datasource: str, condition: str = "") -> bytes:
        """Return the rows of a data source, or those of a condition in SQL, as CSV with a header."""
        query = f"SELECT * FROM {_named(datasource)}{condition} FORMAT CSVWithNames"  # noqa: S608  # the same
        return self.api.text("/v0/sql", {"q": query})

    # --- deployments of Forward's ---------------------------------------------------------------

    def deployments(self) -> list[Deployment]:
        """Return the deployments that are there, the live one among them."""
        return [
            _deployment(each) for each in _items(self.api.get("/v1/deployments"), "deployments")
        ]

    def deployment(self, id_: str) -> Deployment | None:
        """Return one deployment; None when it is gone."""
        found = self.api.find(f"/v1/deployments/{quote(id_, safe='')}")
        told = _mapping(found or {}).get("deployment")
        return _deployment(told) if isinstance(told, dict) and told else None

    def set_live(self, id_: str) -> None:
        """Put one deployment, which is ready, in the place of the live one; that one stays, unserved."""
        self.api.post(f"/v1/deployments/{quote(id_, safe='')}/set-live")

    def discard(self, id_: str) -> None:
        """Delete one deployment, by its own id; whoever calls knows that it is not live."""
        self.api.delete(f"/v1/deployments/{quote(id_, safe='')}")

    # --- what Classic needs ---------------------------------------------------------------------

    def users(self) -> dict[str, set[str]]:
        """Return which pipes read or fill each data source, or read each pipe, by names."""
        found = dict[str, set[str]]()
        for pipe in _items(self.api.get("/v0/pipes", {"dependencies": "true"}), "pipes"):
            for node in _items(pipe, "nodes"):
                tags, read = node.get("tags"), node.get("dependencies")
                names = list(read) if isinstance(read, list) else []
                if isinstance(tags, dict):
                    names.append(tags.get("materializing_target_datasource"))
                for name in names:
                    found.setdefault(str(name), set()).add(_text(pipe, "name"))
        return found

    def delete(self, resource: Resource) -> None:
        """Delete a data source that nothing reads, or a pipe."""
        name = _named(resource.name)
        if resource.kind is Kind.DATASOURCE:
            self.api.delete(f"/v0/datasources/{name}")
        else:
            self.api.delete(f"/v0/pipes/{name}")

    # --- branches -------------------------------------------------------------------------------

    def branches(self) -> list[Branch]:
        """Return the branches of the workspace."""
        found = _items(self.api.get(f"/{self._version}/environments"), "environments")
        return [
            Branch(_text(each, "id"), _text(each, "name"), _moment(each.get("created_at")))
            for each in found
        ]

    def create_branch(self, name: str, *, with_rows: bool) -> str:
        """Ask for a branch, perhaps with the rows of the last partitions; returns the job's id."""
        query = {"name": _named(name), **({"data": "last_partition"} if with_rows else {})}
        told = _mapping(self.api.post(f"/{self._version}/environments", query)).get("job")
        job = told if isinstance(told, dict) else {}
        return _text(job, "job_id") or _text(job, "id")

    def job(self, id_: str) -> tuple[str, str]:
        """Return how far a job is, and its error if it has one."""
        told = _mapping(self.api.get(f"/v0/jobs/{quote(id_, safe='')}"))
        return _text(told, "status"), _text(told, "error")

    def token_of_branch(self, id_: str) -> str:
        """Return the token of a branch; empty when it is not seen."""
        path = f"/{self._version}/user/workspaces/"
        found = _items(self.api.get(path, {"with_environments": "true"}), "workspaces")
        return next((str(w.get("token") or "") for w in found if _text(w, "id") == id_), "")

    def delete_branch(self, id_: str) -> None:
        """Delete a branch, by its id."""
        self.api.delete(f"/v0/environments/{quote(id_, safe='')}")


@dataclass(frozen=True)
class Account:
    """What a user token may do beyond one workspace: list, create, delete, share."""

    api: Api
    dialect: Dialect

    @classmethod
    def of(cls, settings: Tinybird, where: str) -> Account:
        """Return the account of a configured workspace; raises `ConfigError` without a user token."""
        key = f"{where}.user_token_variable"
        if settings.user_token_variable is None:
            raise ConfigError.at(key, "is missing", "name the variable that holds a user token")
        return cls(_api(settings, key, secret(settings.user_token_variable, key)), settings.dialect)

    @property
    def _version(self) -> str:
        return "v1" if self.dialect is Dialect.FORWARD else "v0"

    def workspaces(self) -> list[Listed]:
        """Return the workspaces that the user sees, each with its token."""
        path = f"/{self._version}/user/workspaces/"
        found = _items(self.api.get(path, {"with_environments": "false"}), "workspaces")
        return [Listed(_text(w, "id"), _text(w, "name"), str(w.get("token") or "")) for w in found]

    def find(self, name: str) -> Listed | None:
        """Return a workspace by its name; None when there is none that the user sees."""
        found = [w for w in self.workspaces() if w.name == name]
        if len(found) > 1:
            ids = ", ".join(w.id for w in found)
            raise ToolError(
                "tinybird",
                None,
                f"the user token sees several called {name}: {ids}",
                hint="use a token of a user who sees one of them",
            )
        return found[0] if found else None

    def create(self, name: str) -> None:
        """Make an empty workspace."""
        self.api.post(f"/{self._version}/workspaces", {"name": _named(name)})

    def delete(self, workspace: Listed) -> None:
        """Delete a workspace, and all that is in it."""
        path = f"/{self._version}/workspaces/{quote(workspace.id, safe='')}"
        self.api.delete(path, form={"confirmation": workspace.name})

    def share(self, datasource_id: str, *, origin: str, to: str) -> None:
        """Share a data source with another workspace; all three by their ids."""
        form = {"origin_workspace_id": origin, "destination_workspace_id": to}
        self.api.post(f"/v0/datasources/{quote(datasource_id, safe='')}/share", form=form)


def shared(client: Client, datasource: str) -> tuple[str, frozenset[str]]:
    """Return a data source's id, and the ids of the workspaces that it is shared with.

    The id is empty for one that is not there.
    """
    found = _mapping(client.api.find(f"/v0/datasources/{_named(datasource)}") or {})
    others = found.get("shared_with")
    ids = [
        str(each.get("id")) if isinstance(each, dict) else str(each)
        for each in (others if isinstance(others, list) else ())
    ]
    return str(found.get("id") or ""), frozenset(ids)


def _api(settings: Tinybird, where: str, token: str) -> Api:
    return Api(settings.host, f"Tinybird at {settings.host}", where, token)


def _named(name: str) -> str:
    """Take only what is a name: it becomes part of a path or a query."""
    if not re.fullmatch(RESOURCE_PATTERN, name):
        raise ToolError("asking Tinybird", None, f"{one_line(name)[:100]!r} is no resource's name")
    return name


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ToolError("asking Tinybird", None, "its answer is not of the form we know")
    return value


def _items(value: Any, key: str) -> list[Mapping[str, Any]]:
    found = _mapping(value).get(key)
    if not isinstance(found, list):
        raise ToolError("asking Tinybird", None, f"its answer has no list of {key}")
    return [each for each in found[:_MOST] if isinstance(each, dict)]


def _text(value: Mapping[str, Any], key: str) -> str:
    return one_line(str(value.get(key) or ""))[:200]


def _kind(pipe: Mapping[str, Any]) -> Kind:
    kind = _NODE_KINDS.get(str(pipe.get("type")))
    nodes = pipe.get("nodes")
    if kind or not isinstance(nodes, list):
        return kind or Kind.PIPE
    types = [_NODE_KINDS.get(str(n.get("node_type"))) for n in nodes if isinstance(n, dict)]
    return next(filter(None, types), Kind.PIPE)


def _deployment(told: Mapping[str, Any]) -> Deployment:
    errors = told.get("errors")
    found = [
        f"{e.get('filename') or ''}: {e.get('error') or ''}" if isinstance(e, dict) else str(e)
        for e in (errors if isinstance(errors, list) else ())
    ]
    said = tuple(one_line(error).removeprefix(": ")[:300] for error in found[:20])
    return Deployment(_text(told, "id"), bool(told.get("live")), _text(told, "status"), said)


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _unclear(name: str) -> ToolError:
    return ToolError("asking Tinybird", None, f"it does not say how many rows {name} has")
