"""The table of what can be asked: method, path, which token it takes, and who answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dataops_dagster.testing.tinybird import (
    branches,
    data,
    datasources,
    deployments,
    pipes,
    tokens,
    workspaces,
)
from dataops_dagster.testing.tinybird.account import Account, Right, Who
from dataops_dagster.testing.tinybird.exchange import Answer, Request

Handler = Callable[[Account, Request, Who], Answer]


@dataclass(frozen=True)
class Route:
    """A path with `{names}`; `rights` are the tokens that it takes, none of them is for all."""

    method: str
    path: str
    handler: Handler
    rights: frozenset[Right]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a pattern; a name of a resource has no slash."""
        return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", self.path))


_USER = frozenset({Right.USER})
_ADMIN = frozenset({Right.USER, Right.ADMIN})
_DEPLOY = frozenset({Right.USER, Right.ADMIN, Right.DEPLOY})
_ANY = frozenset(Right)
_OPEN: frozenset[Right] = frozenset()

ROUTES = (
    Route("GET", "/tokens", workspaces.show_local_tokens, _OPEN),
    Route("GET", "/v0/regions", workspaces.show_regions, _OPEN),
    Route("GET", "/v0/connectors", workspaces.show_connectors, _ADMIN),
    Route("GET", "/v0/auth", workspaces.show_auth, _ANY),
    Route("GET", "/v[01]/workspace", workspaces.show_current, _ANY),
    Route("GET", "/v[01]/user/workspaces", workspaces.show_all, _ADMIN),
    Route("GET", "/v0/organizations/{id}", workspaces.show_organization, _ANY),
    Route("POST", "/v[01]/workspaces", workspaces.create, _USER),
    Route("GET", "/v[01]/workspaces/{id}", workspaces.show, _ADMIN),
    Route("DELETE", "/v[01]/workspaces/{id}", workspaces.delete, _USER),
    Route("GET", "/v0/workspaces/{id}/releases", workspaces.show_releases, _ADMIN),
    Route("POST", "/v0/workspaces/{id}/releases", workspaces.record_release, _ADMIN),
    Route("PUT", "/v0/workspaces/{id}/releases/{semver}", workspaces.update_release, _ADMIN),
    Route("GET", "/v[01]/environments", branches.show_all, _ADMIN),
    Route("POST", "/v[01]/environments", branches.create, _ADMIN),
    Route("DELETE", "/v[01]/environments/{id}", branches.delete, _ADMIN),
    Route("GET", "/v0/jobs", branches.show_jobs, _DEPLOY),
    Route("GET", "/v0/jobs/{id}", branches.show_job, _DEPLOY),
    Route("GET", "/v0/tokens", tokens.show_all, _ADMIN),
    Route("POST", "/v0/tokens", tokens.create, _ADMIN),
    Route("GET", "/v0/tokens/{name}", tokens.show, _ADMIN),
    Route("PUT", "/v0/tokens/{name}", tokens.alter, _ADMIN),
    Route("DELETE", "/v0/tokens/{name}", tokens.delete, _ADMIN),
    Route("GET", "/v0/datasources", datasources.show_all, _DEPLOY),
    Route("POST", "/v0/datasources", datasources.create_or_import, _ADMIN),
    Route("GET", "/v0/datasources/{name}\\.datasource", datasources.show_file, _ADMIN),
    Route("GET", "/v0/datasources/{name}", datasources.show, _DEPLOY),
    Route("DELETE", "/v0/datasources/{name}", datasources.delete, _ADMIN),
    Route("POST", "/v0/datasources/{name}/alter", datasources.alter, _ADMIN),
    Route("POST", "/v0/datasources/{name}/truncate", datasources.truncate, _ADMIN),
    Route("POST", "/v0/datasources/{name}/share", datasources.share, _ADMIN),
    Route("DELETE", "/v0/datasources/{name}/share", datasources.share, _ADMIN),
    Route(
        "POST", "/v1/datasources/{name}/(?P<mode>append|replace)", datasources.import_rows, _ADMIN
    ),
    Route("GET", "/v0/pipes", pipes.show_all, _DEPLOY),
    Route("POST", "/v0/pipes", pipes.create, _ADMIN),
    Route("GET", "/v1/pipes/{name}\\.pipe", pipes.show_file, _ADMIN),
    Route("GET", "/v0/pipes/{name}\\.(?P<format>json|csv|ndjson)", data.call, _ANY),
    Route("POST", "/v0/pipes/{name}\\.(?P<format>json|csv|ndjson)", data.call, _ANY),
    Route("GET", "/v0/pipes/{name}", pipes.show, _DEPLOY),
    Route("DELETE", "/v0/pipes/{name}", pipes.delete, _ADMIN),
    Route("POST", "/v0/pipes/{name}/nodes/{node}/endpoint", pipes.publish, _ADMIN),
    Route("DELETE", "/v0/pipes/{name}/nodes/{node}/endpoint", pipes.publish, _ADMIN),
    Route("GET", "/v0/pipes/{name}/nodes/{node}/analysis", pipes.analyze, _ADMIN),
    Route("DELETE", "/v0/pipes/{name}/nodes/{node}/materialization", pipes.unlink, _ADMIN),
    Route("POST", "/v0/sql_tables", data.show_tables, _ADMIN),
    Route("GET", "/v0/sql", data.run, _ADMIN),
    Route("POST", "/v0/sql", data.run, _ADMIN),
    Route("POST", "/v1/deploy", deployments.deploy, _DEPLOY),
    Route("POST", "/v1/build", deployments.build, _DEPLOY),
    Route("GET", "/v1/deployments", deployments.show_all, _DEPLOY),
    Route("GET", "/v1/deployments/{id}", deployments.show, _DEPLOY),
    Route("DELETE", "/v1/deployments/{id}", deployments.delete, _DEPLOY),
    Route("POST", "/v1/deployments/{id}/set-live", deployments.promote, _DEPLOY),
)


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the first route that fits, and what it found in the path."""
    for route in ROUTES:
        found = route.pattern.fullmatch(path) if route.method == method else None
        if found:
            return route, found.groupdict()
    return None
