"""git's smart HTTP protocol on loopback: `git http-backend` behind Python's own server."""

from __future__ import annotations

import base64
import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class SmartHttpServer(ThreadingHTTPServer):
    """Serves the repositories below `root`; with `login` (user, password) to who knows it.

    `requests` holds the (path, authorization header) of every request; with `redirect_to`, every
    request is sent there instead. Without `v2` it speaks what git spoke until 2018.
    """

    daemon_threads = True

    def __init__(
        self,
        root: Path,
        *,
        login: tuple[str, str] | None = None,
        redirect_to: str | None = None,
        v2: bool = True,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.login = login
        self.redirect_to = redirect_to
        self.v2 = v2
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer in several small writes would wait 40 ms for an acknowledgment.
    disable_nagle_algorithm = True
    wbufsize = 65_536
    server: SmartHttpServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        given = self.headers.get("Authorization")
        self.server.requests.append((self.path, given))
        if self.server.redirect_to:
            return self._answer(302, {"Location": self.server.redirect_to + self.path}, b"")
        if self.server.login:
            expected = base64.b64encode(":".join(self.server.login).encode()).decode()
            if given != f"Basic {expected}":
                return self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        parts = urlsplit(self.path)
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=False,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "2",
                "GIT_CONFIG_KEY_0": "http.receivepack",
                "GIT_CONFIG_VALUE_0": "true",
                "GIT_CONFIG_KEY_1": "uploadpack.allowFilter",
                "GIT_CONFIG_VALUE_1": "true",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", "") if self.server.v2 else "",
                "REMOTE_ADDR": "127.0.0.1",
            },
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        return self._answer(status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
