"""The words of Meltano Cloud as frozen values, read from its JSON; asks nobody. Pure.

An answer may hold secrets of the workspace (its deploy key, its webhook's secret): only the fields
below are ever taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dataops_dagster.model import Outcome
from dataops_dagster.text import one_line

READY, FAILED = "READY", "FAILED"
"""How making or changing a workspace ended; until then it is PROVISIONING."""

_ENDED = {"COMPLETE": Outcome.PASSED, "ERROR": Outcome.FAILED, "STOPPED": Outcome.FAILED}
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LOGIN = re.compile(r"(?<=://)[^/]*@")
_CHARACTERS = 300


@dataclass(frozen=True)
class CloudWorkspace:
    """A workspace there: its repository's URL without a login, and what else is told of it.

    Source: <https://docs.meltano.com/reference/cloud/api/resources/workspaces>. `branch` and
    `environment` (the active one) are not on that page, but in the vendor's OpenAPI document; None
    where the answer lacks them.
    """

    id: str
    name: str
    status: str
    repository: str
    branch: str | None
    environment: str | None


@dataclass(frozen=True)
class Job:
    """Something that Meltano Cloud does, and how it ended; `outcome` is None until then.

    Source: <https://docs.meltano.com/reference/cloud/api/resources/jobs>. `commit` is not in the
    table there, but in the examples.
    """

    id: str
    status: str
    exit_code: int | None
    commit: str | None
    outcome: Outcome | None


def workspace_of(data: Any) -> CloudWorkspace | None:
    """Read a workspace; None for what is none."""
    id_, name = _id(data), _text(data, "name")
    if id_ is None:
        return None
    return CloudWorkspace(
        id=id_,
        name=name or "",  # one that was initialised and not created yet has none
        status=_text(data, "status") or "",
        repository=_without_login(_text(data, "repositoryUrl") or ""),
        branch=_text(data, "repositoryBranch"),
        environment=_text(data, "defaultEnvironment"),
    )


def workspaces_of(data: Any) -> Iterator[CloudWorkspace] | None:
    """Read a collection of workspaces; None for what is none."""
    embedded = data.get("_embedded", {}) if isinstance(data, dict) else None
    items = embedded.get("workspaces", []) if isinstance(embedded, dict) else None
    if not isinstance(items, list):
        return None
    return (found for item in items if (found := workspace_of(item)))


def has_more(data: Any) -> bool:
    """Say whether a collection goes on. Source: <https://docs.meltano.com/reference/cloud/api/links>."""
    links = data.get("_links") if isinstance(data, dict) else None
    return isinstance(links, dict) and "next" in links


def job_of(data: Any) -> Job | None:
    """Read a job; None for what is none."""
    id_, status = _id(data), _text(data, "status")
    if id_ is None or status is None:
        return None
    code, commit = data.get("exitCode"), _text(data, "commitId") or ""
    exit_code = code if isinstance(code, int) else None
    outcome = _ENDED.get(status, Outcome.ERRORED if _text(data, "endTime") else None)
    if outcome is Outcome.PASSED and exit_code:
        outcome = Outcome.FAILED
    return Job(id_, status, exit_code, commit if _COMMIT.fullmatch(commit) else None, outcome)


def _id(data: Any) -> str | None:
    """Return an id that may stand in a path."""
    found = _text(data, "id")
    return found if found and _ID.fullmatch(found) else None


def _text(data: Any, key: str) -> str | None:
    found = data.get(key) if isinstance(data, dict) else None
    return one_line(found)[:_CHARACTERS] or None if isinstance(found, str) else None


def _without_login(url: str) -> str:
    return url if url.startswith("ssh://") else _LOGIN.sub("", url)
