"""The REST calls of Meltano Cloud that its vendor documents; decides nothing about their answers.

Source: <https://docs.meltano.com/reference/cloud/api/>. The token goes to the configured URL only:
links in an answer and redirects are not followed, as they name other hosts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

from dataops_dagster import process
from dataops_dagster.connections import BROKEN, NOT_YET, REDIRECTS, persist, send
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.meltano_cloud.model import (
    CloudWorkspace,
    Job,
    job_of,
    workspace_of,
    workspaces_of,
)
from dataops_dagster.text import one_line

REQUEST_SECONDS = 30.0
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""A list of workspaces holds each one's picture, of up to 700 kB."""

_JSON = "application/hal+json, application/json"
_TOKEN = re.compile(r"[!-~]+")
_PAGES = 100
_CHUNK = 65_536
_SAID_CHARACTERS = 300

_T = TypeVar("_T")


class Api:
    """The API at a URL, for whom the token in an environment variable stands."""

    def __init__(self, url: str, token_variable: str) -> None:
        self.url = url
        self.token_variable = token_variable

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
            if not fresh or "next" not in (data.get("_links") or {}):
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
        return self._ask("GET", path, accept="text/plain").decode("utf-8", "replace")

    def stop(self, id_: str) -> None:
        """Ask for the end of a running job."""
        self._ask("PUT", f"jobs/{id_}/stopped")

    def clean(self, text: str) -> str:
        """Return a line of the server's that may be shown: inert, and without the token."""
        return process.clean(text, [self._given()])

    def _read(self, read: Callable[[Any], _T | None], data: Any, path: str) -> _T:
        found = read(data)
        if found is None:
            raise self._error(path, None, "its answer is not what the API's documentation says")
        return found

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        answer = self._ask(method, path, content)
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            hint = f"is {self.url} the URL of the API?"
            raise self._error(path, None, "its answer is not JSON", hint=hint) from None

    def _ask(
        self, method: str, path: str, body: bytes | None = None, *, accept: str = _JSON
    ) -> bytes:
        headers = {
            "User-Agent": "dataops",
            "Accept": accept,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._token()}",
        }

        def exchange(left: float) -> bytes:
            url = f"{self.url}/{path}"
            response = send(method, url, body=body, headers=headers, seconds=left)
            try:
                answer = self._bounded(response, path)
                self._check(response.status, answer, path)
            except BaseException:
                response.close()  # what is left unread would be taken for the next answer
                raise
            response.release_conn()
            return answer

        return persist(
            exchange,
            seconds=REQUEST_SECONDS,
            failure=lambda text: self._error(path, None, text, retryable=True),
            # What a POST asked for may be under way.
            may_repeat=lambda error: method != "POST" or error.code in NOT_YET,
        )

    def _given(self) -> str:
        return os.environ.get(self.token_variable, "").strip()

    def _token(self) -> str:
        token = self._given()
        if _TOKEN.fullmatch(token):
            return token
        problem = "holds what cannot be a token" if token else "is not set"
        raise ConfigError.at(
            "meltano_cloud",
            f"the environment variable {self.token_variable} {problem}",
            "set it to a token of the API where Dagster's processes, or this command, are started",
        )

    def _bounded(self, response: Any, path: str) -> bytes:
        answer = bytearray()
        for chunk in response.stream(_CHUNK, decode_content=False):
            answer += chunk
            if len(answer) > ANSWER_LIMIT_BYTES:
                raise self._error(path, None, f"it answers more than {ANSWER_LIMIT_BYTES} bytes")
        return bytes(answer)

    def _check(self, status: int, answer: bytes, path: str) -> None:
        if status in REDIRECTS:
            raise self._error(
                path,
                status,
                "the server sends us elsewhere, and a token must not follow",
                hint="write the URL that it sends to as url, if it is Meltano Cloud's",
            )
        if status == HTTPStatus.UNAUTHORIZED:
            hint = f"put a fresh token into {self.token_variable}; one of the app's lasts two hours"
            raise self._error(path, status, "the token is not valid", hint=hint)
        if status == HTTPStatus.FORBIDDEN:
            hint = "ask for the role of an owner or administrator of the workspace"
            raise self._error(path, status, "the token's owner may not do that", hint=hint)
        if status >= HTTPStatus.BAD_REQUEST:
            raise self._error(path, status, _said(answer), retryable=status in BROKEN)

    def _error(
        self, path: str, code: int | None, text: str, *, retryable: bool = False, hint: str = ""
    ) -> ToolError:
        where = f"asking Meltano Cloud ({self.url}/{path})"
        return ToolError(where, code, self.clean(text), retryable=retryable, hint=hint)


def _said(answer: bytes) -> str:
    """Return the message of an error's body.

    Source: <https://docs.meltano.com/reference/cloud/api/errors>.
    """
    try:
        message = json.loads(answer)["message"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return one_line(message)[:_SAID_CHARACTERS] if isinstance(message, str) else ""
