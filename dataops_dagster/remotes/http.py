"""git's smart HTTP: one request, one answer, over connections that stay open between them.

Follows no redirect, keeps no cookie, and sends a login only to the configured URL.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from dataops_dagster.connections import BROKEN, NOT_YET, REDIRECTS, body_of, persist, send
from dataops_dagster.errors import ToolError
from dataops_dagster.git import WITHOUT_MEASURE, Access, TooMuch
from dataops_dagster.remotes.wire import ANSWER_LIMIT_BYTES, Unspoken
from dataops_dagster.text import one_line

_IN_MEMORY = 1 << 20


class HttpService:
    """The repository behind an http or https URL."""

    def __init__(self, access: Access, scratch: str | None = None) -> None:
        """Take the way to the repository; large answers go through a file in `scratch`."""
        self.access = access
        self.scratch = scratch

    def advertise(self, program: str, seconds: float) -> IO[bytes]:
        """Ask what the server can; returns the answer, to be closed by the caller."""
        return self._ask("GET", f"info/refs?service={program}", None, {}, seconds)

    def call(
        self,
        program: str,
        request: bytes | IO[bytes],
        seconds: float,
        *,
        most: int = ANSWER_LIMIT_BYTES,
    ) -> IO[bytes]:
        """Send a request to one of git's programs; returns the answer, of `most` bytes."""
        headers = {
            "Content-Type": f"application/x-{program}-request",
            "Accept": f"application/x-{program}-result",
        }
        return self._ask("POST", program, request, headers, seconds, most=most)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        seconds: float,
        *,
        most: int = ANSWER_LIMIT_BYTES,
    ) -> IO[bytes]:
        """Ask until there is an answer, the deadline is over, or asking again is no use."""

        def may_repeat(error: ToolError) -> bool:
            # A push that broke off may have happened; only who asked for it can find out.
            return path != "git-receive-pack" or error.code in NOT_YET

        return persist(
            lambda left: self._exchange(method, path, body, headers, left, most=most),
            seconds=seconds,
            failure=lambda text: self._error(None, text, retryable=True),
            may_repeat=may_repeat,
        )

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        left: float,
        *,
        most: int,
    ) -> IO[bytes]:
        sent = {"User-Agent": "git/dataops", "Git-Protocol": "version=2", **headers, **self._login}
        if body is not None and not isinstance(body, bytes):
            sent["Content-Length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        url = f"{self.access.url.rstrip('/')}/{path}"
        response = send(method, url, body=body, headers=sent, seconds=left)
        try:
            self._check(response, method, path)
            answer = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=self.scratch)  # noqa: SIM115  # the caller's
            self._take(response, answer, most)
            answer.seek(0)
        except BaseException:
            response.close()  # what is left unread would be taken for the next answer
            raise
        response.release_conn()
        return answer

    @property
    def _login(self) -> dict[str, str]:
        environment = self.access.environment()
        if not environment:
            return {}
        login = f"{self.access.username}:{self.access.secrets[0]}".encode()
        return {"Authorization": f"Basic {base64.b64encode(login).decode()}"}

    def _check(self, response: Any, method: str, path: str) -> None:
        status = response.status
        if status in REDIRECTS:
            raise self._error(
                status,
                "the server sends us elsewhere, and a login must not follow",
                hint=f"write the URL that it sends to as {self.access.where}.repository, if it is yours",
            )
        if status in (401, 403):
            raise self._error(
                status, "the server refused us", hint=f"check {self.access.where}.credential"
            )
        if status in (404, 410):
            raise self._error(
                status,
                "the server has no such repository, or does not show it to us",
                hint=f"check {self.access.where}.repository, and what its login may see",
            )
        if status in BROKEN:
            raise self._error(status, one_line(response.reason or "")[:200], retryable=True)
        kind = "advertisement" if method == "GET" else "result"
        program = path.rpartition("=")[2]
        if response.headers.get("Content-Type") != f"application/x-{program}-{kind}":
            raise Unspoken

    def _take(self, response: Any, answer: IO[bytes], most: int) -> None:
        for chunk in body_of(response):
            answer.write(chunk)
            if answer.tell() > most:
                said = f"it answers more than {most} bytes"
                raise TooMuch(self._asking, None, said, hint=WITHOUT_MEASURE)

    @property
    def _asking(self) -> str:
        return f"asking the server of {self.access.where} ({self.access.url})"

    def _error(
        self, code: int | None, text: str, *, retryable: bool = False, hint: str = ""
    ) -> ToolError:
        return ToolError(
            self._asking, code, self.access.clean(text), retryable=retryable, hint=hint
        )
