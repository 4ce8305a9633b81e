"""Connections to http servers that stay open, with a deadline; asks again who says "not now".

Follows no redirect, keeps no cookie, reads no `.netrc`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3

from dataops_dagster.errors import ToolError
from dataops_dagster.folders import REFUSALS
from dataops_dagster.text import one_line

ATTEMPTS = 3
"""How often a server that says "not now" is asked."""

NOT_YET = (429, 503)
BROKEN = (500, 502, 504, *NOT_YET)
REDIRECTS = range(300, 400)

_PAUSE_SECONDS = 0.5
CONNECT_SECONDS = 10.0
_CONNECTIONS = 16
_PIECE_BYTES = 65_536

_T = TypeVar("_T")


def persist(
    exchange: Callable[[float], _T],
    *,
    seconds: float,
    failure: Callable[[str], ToolError],
    may_repeat: Callable[[ToolError], bool],
) -> _T:
    """Exchange until there is an answer, the deadline is over, or asking again is no use.

    `exchange` gets the seconds that are left. Raises its `ToolError`, or the `failure` that is made
    of what broke the connection.
    """
    end = time.monotonic() + seconds
    for attempt in range(1, ATTEMPTS + 1):
        left = max(0.001, end - time.monotonic())
        watch = _Watch(left)
        late = f"no answer within {seconds:.0f} s"
        try:
            with watch:
                answer = exchange(left)
            if not watch.cut:  # what has no known length may end because we cut it off
                return answer
            error = failure(late)
        except (urllib3.exceptions.HTTPError, OSError) as found:
            if isinstance(found, OSError) and found.errno in REFUSALS:
                raise  # it was no connection's
            is_late = watch.cut or isinstance(found, TimeoutError | urllib3.exceptions.TimeoutError)
            error = failure(late if is_late else _cause(found))
        except ToolError as found:
            error = found
        pause = _PAUSE_SECONDS * attempt
        if not (error.retryable and may_repeat(error) and time.monotonic() + pause < end):
            break
        if attempt < ATTEMPTS:
            time.sleep(pause)
    raise error


def send(
    method: str,
    url: str,
    *,
    body: bytes | IO[bytes] | None,
    headers: Mapping[str, str],
    seconds: float,
) -> urllib3.BaseHTTPResponse:
    """Send a request, within `persist`; returns the answer with its body yet to be read.

    Raises urllib3's `HTTPError`, or `OSError`.
    """
    return _connections(os.getpid(), proxy_of(url)).request(
        method,
        url,
        body=body,
        headers=headers,
        redirect=False,
        retries=False,
        preload_content=False,
        timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), read=seconds),
    )


def body_of(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the body of an answer, piece by piece."""
    # Not urllib3's `stream`: it takes in the length of a chunk however many digits that has.
    while piece := response.read(_PIECE_BYTES, decode_content=False):
        yield piece


def _cause(error: BaseException) -> str:
    """Say what went wrong, without urllib3's objects and addresses in memory."""
    reason = error
    while isinstance(getattr(reason, "reason", None), BaseException):
        reason = reason.reason  # type: ignore[attr-defined]
    text = str(getattr(reason, "args", [reason])[-1] if reason.args else reason)
    return one_line(text.rpartition(">: ")[2] or type(reason).__name__)[:300]


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


def watch(connection: socket.socket | None) -> None:
    """Let the deadline of `persist` cut what the exchange in it waits for."""
    _this_thread.watch.connection = connection


class _Watched:
    """Lets the thread's watch know which connection is in use."""

    sock: Any

    def send(self, data: Any) -> None:
        super().send(data)  # type: ignore[misc]  # of the connection that this is mixed into
        watch(self.sock)


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


def proxy_of(url: str) -> str:
    """Return the proxy that this machine's environment names for a URL, if it does."""
    parts = urlsplit(url)
    proxies = getproxies_environment()
    if proxy_bypass(parts.netloc):
        return ""
    return proxies.get(parts.scheme, "")
