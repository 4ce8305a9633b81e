"""The REST calls of Meltano Cloud that its vendor documents; decides nothing about their answers.

Source: <https://docs.meltano.com/reference/cloud/api/>. The token goes to the configured URL only:
links in an answer and redirects are not followed, as they name other hosts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from dataops_dagster import process
from dataops_dagster.exchange import Exchange
from dataops_dagster.meltano_cloud.login import KeyLogin, TokenLogin, asked, login_of
from dataops_dagster.meltano_cloud.model import (
    CloudWorkspace,
    Job,
    has_more,
    job_of,
    workspace_of,
    workspaces_of,
)
from dataops_dagster.settings_steps import MeltanoCloudStep
from dataops_dagster.spellings import all_spellings

_JSON = "application/hal+json, application/json"
_PAGES = 100

_T = TypeVar("_T")


@dataclass(frozen=True)
class Api:
    """The API at a URL, for who logs in like this."""

    url: str
    login: TokenLogin | KeyLogin

    @classmethod
    def of(cls, step: MeltanoCloudStep) -> Api:
        """Return the API that a step asks."""
        return cls(step.url, login_of(step))

    def workspaces(self) -> list[CloudWorkspace]:
        """List the workspaces that the token's owner is a member of."""
        found: dict[str, CloudWorkspace] = {}
        for page in range(_PAGES):
            path = f"workspaces?page={page}" if page else "workspaces"
            data = self._json("GET", path)
            listed = self._read(workspaces_of, data, path)
            fresh = {w.id: w for w in listed if w.id not in found}
            found |= fresh
            # Known to repeat its only page: https://github.com/MeltanoLabs/tap-meltano-cloud/issues/1
            if not fresh or not has_more(data):
                break
        return list(found.values())

    def workspace(self, id_: str) -> CloudWorkspace:
        """Look at a workspace."""
        path = f"workspaces/{id_}"
        return self._read(workspace_of, self._json("GET", path), path)

    def create(self, name: str) -> CloudWorkspace:
        """Begin to make a workspace; look at it until it is ready."""
        drafted = self._read(workspace_of, self._json("POST", "workspaces"), "workspaces")
        path = f"workspaces/{drafted.id}"
        return self._read(workspace_of, self._json("PUT", path, {"name": name}), path)

    def deploy(self, id_: str) -> Job:
        """Begin to deploy the head of a workspace's repository."""
        path = f"workspaces/{id_}/deployments"
        return self._read(job_of, self._json("POST", path), path)

    def job(self, id_: str) -> Job:
        """Look at a job."""
        path = f"jobs/{id_}"
        return self._read(job_of, self._json("GET", path), path)

    def log(self, id_: str, sequence: int) -> str:
        """Return a job's log from a line on, counted from 0; empty if there is no more."""
        path = f"jobs/{id_}/logs?sequence={sequence}"
        answer = self._exchange("GET", path, accept="text/plain").answer()
        return answer.decode("utf-8", "replace")

    def stop(self, id_: str) -> None:
        """Ask for the end of a running job."""
        self._exchange("PUT", f"jobs/{id_}/stopped").answer()

    def clean(self, text: str) -> str:
        """Return a line of the server's that may be shown: inert, and without our secrets."""
        return process.clean(text, all_spellings(self.login.secrets))

    def _read(self, read: Callable[[Any], _T | None], data: Any, path: str) -> _T:
        found = read(data)
        if found is None:
            request = asked("", f"{self.url}/{path}", {}, self.login)
            raise request.error(None, "its answer is not what the API's documentation says")
        return found

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        return self._exchange(method, path).json(body)

    def _exchange(self, method: str, path: str, accept: str = _JSON) -> Exchange:
        headers = {"Accept": accept, "Authorization": f"Bearer {self.login.token()}"}
        return asked(method, f"{self.url}/{path}", headers, self.login)
