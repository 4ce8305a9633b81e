"""One request over http with a secret in it, and its bounded answer; follows no redirect or link."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from dataops_dagster import process
from dataops_dagster.connections import (
    BROKEN,
    CONNECT_SECONDS,
    NOT_YET,
    REDIRECTS,
    persist,
    proxy_of,
    watch,
)
from dataops_dagster.errors import ToolError
from dataops_dagster.spellings import all_spellings
from dataops_dagster.text import one_line

REQUEST_SECONDS = 30.0
ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""More is no answer. In a list of workspaces Meltano Cloud sends each one's picture, of up to 700 kB."""

_SAID_CHARACTERS = 300


@dataclass(frozen=True)
class Exchange:
    """What is asked; `secrets` are cut out of every error, which calls who is asked by `name`.

    `hints` are those of statuses, 300 stands for every redirect. `told` is the key under which an
    answer says what is wrong.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: Iterable[str] = field(repr=False)
    name: str
    hints: Mapping[int, str]
    told: str

    def answer(self, body: bytes | None = None) -> bytes:
        """Ask until there is an answer; raises `ToolError` for any but a good one."""
        return persist(
            lambda left: self._once(body, left),
            seconds=REQUEST_SECONDS,
            failure=lambda text: self.error(None, text, retryable=True),
            # What a POST asked for may be under way.
            may_repeat=lambda error: self.method != "POST" or error.code in NOT_YET,
        )

    def json(self, body: Any = None) -> Any:
        """Ask for JSON, with a body of JSON."""
        content = None if body is None else json.dumps(body).encode()
        return self.read(self.answer(content))

    def read(self, answer: bytes) -> Any:
        """Read an answer that is JSON; raises `ToolError`."""
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            hint = "is url the one of the API?"
            raise self.error(None, "its answer is not JSON", hint=hint) from None

    def error(
        self, code: int | None, text: str, *, retryable: bool = False, hint: str = ""
    ) -> ToolError:
        """Return an error that names what was asked, and holds no secret."""
        where = f"asking {self.name} ({self.url})"
        said = process.clean(text, all_spellings(self.secrets))
        return ToolError(where, code, said, retryable=retryable, hint=hint)

    def _once(self, body: bytes | None, left: float) -> bytes:
        headers = {"User-Agent": "dataops", "Content-Type": "application/json", **self.headers}
        # A body that is small because it is packed may be large: we take none.
        headers["Accept-Encoding"] = "identity"
        try:
            with _line(self.url).send(self.method, self.url, body, headers, left) as response:
                answer = self._read(response)
                self._check(response.status_code, answer)
                return answer
        except httpx.TimeoutException as error:
            raise TimeoutError(str(error)) from None
        except httpx.HTTPError as error:
            raise ConnectionError(str(error) or type(error).__name__) from None

    def _read(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        for chunk in response.iter_raw():
            answer += chunk
            if len(answer) > ANSWER_LIMIT_BYTES:
                raise self.error(None, f"it answers more than {ANSWER_LIMIT_BYTES} bytes")
        return bytes(answer)

    def _check(self, status: int, answer: bytes) -> None:
        if status < HTTPStatus.MULTIPLE_CHOICES:
            return
        hint = self.hints.get(300 if status in REDIRECTS else status, "")
        if status in REDIRECTS:
            said = "the server sends us elsewhere, and a token must not follow"
        else:
            said = ": ".join(filter(None, (_MEANINGS.get(status), _said(answer, self.told))))
        raise self.error(status, said, retryable=status in BROKEN, hint=hint)


_MEANINGS = {401: "the login is not valid", 403: "the login may not do that"}


def _said(answer: bytes, key: str) -> str:
    """Return what the body of an error says."""
    try:
        message = json.loads(answer)[key]
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""
    return one_line(message)[:_SAID_CHARACTERS] if isinstance(message, str) else ""


class _Line:
    """One thread's connection to a server; it stays open, and the deadline can cut it."""

    def __init__(self, proxy: str) -> None:
        self._socket: Any = None
        # No client, which would keep cookies and log every URL.
        self._transport = httpx.HTTPTransport(
            proxy=proxy or None,
            trust_env=False,
            verify=_certificates(),
            limits=httpx.Limits(max_connections=1),
        )

    @contextlib.contextmanager
    def send(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> Iterator[httpx.Response]:
        """Send a request, within `persist`; gives the answer with its body yet to be read."""
        watch(self._socket)
        timeout = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds)).as_dict()
        more = {"timeout": timeout, "trace": self._see}
        request = httpx.Request(method, url, content=body, headers=headers, extensions=more)
        response = self._transport.handle_request(request)
        try:
            yield response
        finally:
            response.close()

    def _see(self, event: str, told: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = told["return_value"].get_extra_info("socket")
            watch(self._socket)


_of_thread = threading.local()


def _line(url: str) -> _Line:
    """Return this thread's connection to a server; a process that forks must not share it."""
    lines: dict[object, _Line] = _of_thread.__dict__.setdefault("lines", {})
    to, proxy = httpx.URL(url).copy_with(path="/", query=None), proxy_of(url)
    key = os.getpid(), to, proxy
    if key not in lines:
        lines[key] = _Line(proxy)
    return lines[key]


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return whom this machine trusts, not whom a library does."""
    return ssl.create_default_context()
