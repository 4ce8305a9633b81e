"""JSON APIs over http: one request with a Bearer token, one bounded answer.

The token goes to the configured host only, in a header: never into a URL, an error or a log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from dataops_dagster import connections, process
from dataops_dagster.errors import ToolError
from dataops_dagster.text import one_line

ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""More than this is no answer of an API."""

SECONDS = 30.0
_CHUNK = 65_536
_TOLD = 500
_OK = range(200, 300)


@dataclass(frozen=True)
class Api:
    """An API: where it is, who asks, and what a person checks when it says no.

    `name` says in errors whom we ask; `where` is the key of the configuration that has the token.
    """

    url: str
    name: str
    where: str
    token: str = field(repr=False)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Ask for a value; raises `ToolError`, whose `code` is the answer's status."""
        return self._ask("GET", path, query)

    def text(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Ask for what is no JSON; raises `ToolError`, also for more than `ANSWER_LIMIT_BYTES`."""
        return self._exchange("GET", path, query, None)

    def find(self, path: str, query: Mapping[str, str] | None = None) -> Any | None:
        """Ask for a value; None when there is none."""
        try:
            return self.get(path, query)
        except ToolError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def post(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask to make something; not asked again unless the server did nothing."""
        return self._ask("POST", path, query, form or {})

    def delete(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        """Ask to delete something; that it is gone already is no error."""
        try:
            return self._ask("DELETE", path, query, form)
        except ToolError as error:
            if error.code == NOT_FOUND:
                return None
            raise

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        return self._read(self._exchange(method, path, query, form))

    def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        form: Mapping[str, str] | None,
    ) -> bytes:
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form).encode()

        def exchange(left: float) -> bytes:
            response = connections.send(method, url, body=body, headers=headers, seconds=left)
            try:
                answer = self._bounded(response.stream(_CHUNK, decode_content=False))
            except BaseException:
                response.close()  # what is left unread would be taken for the next answer
                raise
            response.release_conn()
            self._check(response.status, answer)
            return answer

        return connections.persist(
            exchange,
            seconds=SECONDS,
            failure=lambda text: self._error(text, retryable=True),
            may_repeat=lambda error: method == "GET" or error.code in connections.NOT_YET,
        )

    def _bounded(self, chunks: Iterable[bytes]) -> bytes:
        answer = bytearray()
        for chunk in chunks:
            answer += chunk
            if len(answer) > ANSWER_LIMIT_BYTES:
                raise self._error(f"it answers more than {ANSWER_LIMIT_BYTES} bytes")
        return bytes(answer)

    def _check(self, status: int, answer: bytes) -> None:
        """Raise what a status says that is no success."""
        if status in _OK:
            return
        if status in connections.REDIRECTS:
            problem = "the server sends us elsewhere, and a token must not follow"
            raise self._error(problem, status)
        hint = f"check {self.where}" if status in (401, 403) else ""
        raise self._error(_told(answer), status, retryable=status in connections.BROKEN, hint=hint)

    def _read(self, answer: bytes) -> Any:
        if not answer.strip():
            return None
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise self._error("its answer is no JSON") from None

    def _error(
        self, text: str, code: int | None = None, *, retryable: bool = False, hint: str = ""
    ) -> ToolError:
        told = process.clean(one_line(text)[:_TOLD], [self.token])
        return ToolError(f"asking {self.name}", code, told, retryable=retryable, hint=hint)


NOT_FOUND = 404


def _told(answer: bytes) -> str:
    """Return what a server says about an error: its `error`, or the beginning of what it wrote."""
    text = answer[:ANSWER_LIMIT_BYTES].decode("utf-8", "replace")
    try:
        said = json.loads(text)["error"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return text[: 2 * _TOLD]
    return said if isinstance(said, str) else json.dumps(said)
