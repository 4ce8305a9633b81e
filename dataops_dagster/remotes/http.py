"""git's smart HTTP: one request, one answer, over connections that stay open between them.

Follows no redirect, keeps no cookie, and sends a login only to the configured URL.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3

from dataops_dagster.errors import ToolError
from dataops_dagster.git import Access
from dataops_dagster.remotes.wire import Unspoken
from dataops_dagster.text import one_line

ATTEMPTS = 3
"""How often a server that says "not now" is asked."""

ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
"""More than this is no answer to a look-up or a push."""

_PAUSE_SECONDS = 0.5
_CONNECT_SECONDS = 10.0
_CONNECTIONS = 16
_CHUNK = 65_536
_IN_MEMORY = 1 << 20
_NOT_YET = (429, 503)
_BROKEN = (500, 502, 504, *_NOT_YET)
_REDIRECTS = range(300, 400)


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
        self, program: str, request: bytes | IO[bytes], seconds: float, *, is_long: bool = False
    ) -> IO[bytes]:
        """Send a request to one of git's programs; returns the answer.

        Only one that `is_long` may be of any size.
        """
        headers = {
            "Content-Type": f"application/x-{program}-request",
            "Accept": f"application/x-{program}-result",
        }
        return self._ask("POST", program, request, headers, seconds, is_long=is_long)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        seconds: float,
        *,
        is_long: bool = False,
    ) -> IO[bytes]:
        """Ask until there is an answer, the deadline is over, or asking again is no use."""
        end = time.monotonic() + seconds
        for attempt in range(1, ATTEMPTS + 1):
            left = max(0.001, end - time.monotonic())
            watch = _Watch(left)
            try:
                with watch:
                    answer = self._exchange(method, path, body, headers, left, is_long=is_long)
                if not watch.cut:  # what has no known length may end because we cut it off
                    return answer
                error = self._error(None, f"no answer within {seconds:.0f} s", retryable=True)
            except (urllib3.exceptions.HTTPError, OSError) as found:
                late = watch.cut or isinstance(found, urllib3.exceptions.TimeoutError)
                cause = f"no answer within {seconds:.0f} s" if late else _cause(found)
                error = self._error(None, cause, retryable=True)
            except ToolError as found:
                error = found
            pause = _PAUSE_SECONDS * attempt
            # A push that broke off may have happened; only who asked for it can find out.
            may_repeat = path != "git-receive-pack" or error.code in _NOT_YET
            if not (error.retryable and may_repeat and time.monotonic() + pause < end):
                break
            if attempt < ATTEMPTS:
                time.sleep(pause)
        raise error

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        headers: Mapping[str, str],
        left: float,
        *,
        is_long: bool,
    ) -> IO[bytes]:
        sent = {"User-Agent": "git/dataops", "Git-Protocol": "version=2", **headers, **self._login}
        if body is not None and not isinstance(body, bytes):
            sent["Content-Length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        response = _connections(os.getpid(), _proxy(self.access.url)).request(
            method,
            f"{self.access.url.rstrip('/')}/{path}",
            body=body,
            headers=sent,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, left), read=left),
        )
        try:
            self._check(response, method, path)
            answer = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=self.scratch)  # noqa: SIM115  # the caller's
            for chunk in response.stream(_CHUNK, decode_content=False):
                answer.write(chunk)
                if not is_long:
                    self._bound(answer.tell())
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
        if status in _REDIRECTS:
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
        if status in _BROKEN:
            raise self._error(status, one_line(response.reason or "")[:200], retryable=True)
        kind = "advertisement" if method == "GET" else "result"
        program = path.rpartition("=")[2]
        if response.headers.get("Content-Type") != f"application/x-{program}-{kind}":
            raise Unspoken

    def _bound(self, size: int) -> None:
        if size > ANSWER_LIMIT_BYTES:
            raise self._error(None, f"it answers more than {ANSWER_LIMIT_BYTES} bytes")

    def _error(
        self, code: int | None, text: str, *, retryable: bool = False, hint: str = ""
    ) -> ToolError:
        where = f"asking the server of {self.access.where} ({self.access.url})"
        return ToolError(where, code, text, retryable=retryable, hint=hint)


class _Watch:
    """Cuts the connection at the deadline: a timeout alone does not end a server that drips."""

    def __init__(self, seconds: float) -> None:
        self.cut = False
        self.connection: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        _this_thread.watch = self
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _shut(self) -> None:
        self.cut = True
        if self.connection is not None:
            with contextlib.suppress(OSError):
                # Not the TLS layer's own shutdown, which waits for the other side.
                socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


_this_thread = threading.local()


class _Watched:
    """Lets the thread's watch know which connection is in use."""

    sock: Any

    def send(self, data: Any) -> None:
        super().send(data)  # type: ignore[misc]  # of the connection that this is mixed into
        _this_thread.watch.connection = self.sock


class _Connection(_Watched, urllib3.connection.HTTPConnection):
    pass


class _TlsConnection(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


@functools.cache
def _connections(_pid: int, proxy: str) -> urllib3.PoolManager:
    """Return this process's open connections; one that forks must not share them."""
    options: dict[str, Any] = {"num_pools": _CONNECTIONS, "maxsize": _CONNECTIONS}
    manager = urllib3.PoolManager(**options)
    if proxy:
        login = urlsplit(proxy).netloc.rpartition("@")[0]
        headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
        manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


def _proxy(url: str) -> str:
    parts = urlsplit(url)
    proxies = getproxies_environment()
    if proxy_bypass(parts.netloc):
        return ""
    return proxies.get(parts.scheme, "")


def _cause(error: BaseException) -> str:
    """Say what went wrong, without urllib3's objects and addresses in memory."""
    reason = error
    while isinstance(getattr(reason, "reason", None), BaseException):
        reason = reason.reason  # type: ignore[attr-defined]
    text = str(getattr(reason, "args", [reason])[-1] if reason.args else reason)
    return one_line(text.rpartition(">: ")[2] or type(reason).__name__)[:300]
