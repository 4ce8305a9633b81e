"""No secret of a whole project is told or left anywhere, whatever succeeds, fails or prints it."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets as random
import sqlite3
import subprocess
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from dataops_dagster import config, promotion
from dataops_dagster.errors import ToolError
from dataops_dagster.git import Access
from dataops_dagster.remotes import Remote, wire
from tests.conftest import SHOP, Shop
from tests.leaks import found, left_in, told_by, watched
from tests.repositories import git

SECRET = f"a-secret/{random.token_hex(12)}+&\"'=é"


# --- who looks for leaks finds them ---------------------------------------------------------------


def into_a_file(folder: Path) -> None:
    (folder / "left").write_text(f"password: {SECRET}\n")


def into_json(folder: Path) -> None:
    (folder / "left.json").write_text(json.dumps({"url": f"https://ada:{SECRET}@host"}))


def into_a_url(folder: Path) -> None:
    (folder / "config").write_text(f"url = https://ada:{quote(SECRET, safe='')}@host/\n")


def into_a_header(folder: Path) -> None:
    login = base64.b64encode(f"ada:{SECRET}".encode()).decode()
    (folder / "log").write_text(f"Authorization: Basic {login}\n")


def into_a_row(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "runs.db")) as base, base:
        base.execute("create table runs (body text)")
        base.execute("insert into runs values (?)", (SECRET,))


def into_a_snapshot(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "runs.db")) as base, base:
        base.execute("create table snapshots (body blob)")
        base.execute("insert into snapshots values (?)", (zlib.compress(SECRET.encode() * 2),))


def into_a_commit(folder: Path) -> None:
    git(folder, "init", "--quiet", "--bare", "r.git")
    tree = git(folder / "r.git", "write-tree")
    git(folder / "r.git", "commit-tree", tree, "-m", f"By {SECRET}")


PLANTS = [
    into_a_file,
    into_json,
    into_a_url,
    into_a_header,
    into_a_row,
    into_a_snapshot,
    into_a_commit,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_leak_that_is_left_is_found(tmp_path, plant: Callable[[Path], None]):
    assert not found({"it": SECRET}, left_in(tmp_path))
    plant(tmp_path)
    assert found({"it": SECRET}, left_in(tmp_path))


def test_a_leak_in_arguments_or_in_a_file_that_goes_is_found(tmp_path):
    with watched(tmp_path) as watch:
        script = 'echo "$1" > gone; sleep 0.2; rm gone'
        subprocess.run(["sh", "-c", script, "sh", SECRET], cwd=tmp_path, check=True)
    assert watch.holds(SECRET.encode())
    assert any(SECRET in words for words, _ in watch.children)
    assert found({"it": SECRET}, ((str(p), data) for p, data in watch.files.items()))


def fail_after(error: ValueError) -> None:
    try:
        raise error
    except ValueError:
        raise RuntimeError("something failed")  # noqa: B904  # as it happens by accident


def test_a_leak_behind_an_exception_is_found():
    with pytest.raises(RuntimeError) as caught:
        fail_after(ValueError(SECRET))
    assert found({"it": SECRET}, [("error", told_by(caught.value).encode())])


# --- servers that repeat what they were given -----------------------------------------------------


class Parrot(BaseHTTPRequestHandler):
    """Answers every request with the login that came with it, in the way that `way` says."""

    way = ""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        password = base64.b64decode(given.rpartition(" ")[2]).decode("utf-8", "replace")
        said = f"{given} is {password}"
        if "reason" in self.way:
            self.send_response(int(self.way.split()[0]), said.encode("ascii", "replace").decode())
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        offered = ("version 2\n", "ls-refs\n", "object-format=sha1\n")
        packets = offered if self.command == "GET" else (f"ERR {said}\n",)
        body = b"".join(wire.line(packet) for packet in packets) + b"0000"
        self.send_response(200)
        kind = "advertisement" if self.command == "GET" else "result"
        program = "receive-pack" if "receive-pack" in self.path else "upload-pack"
        self.send_header("Content-Type", f"application/x-git-{program}-{kind}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()


@pytest.mark.parametrize("way", ["500 reason", "403 reason", "302 reason", "a packet"])
def test_a_server_that_repeats_the_login_tells_it_to_nobody(monkeypatch, way):
    password = f"a-password-{random.token_hex(12)}"
    monkeypatch.setenv("GIT_PASSWORD", password)
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("_", (Parrot,), {"way": way}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/prod.git"
    access = Access(url, "workspaces.prod", ("http",), "ada", "GIT_PASSWORD")
    try:
        with pytest.raises(ToolError) as caught:
            Remote(access).refs(["refs/heads/main"], 10)
    finally:
        server.shutdown()
        server.server_close()
    if way in ("500 reason", "a packet"):
        assert "*****" in str(caught.value)
    assert not found({"it": password}, [("error", told_by(caught.value).encode())])


def test_a_hook_that_repeats_the_login_tells_it_to_nobody(shop: Shop, smart_http, monkeypatch):
    password = f"a-password-{random.token_hex(12)}"
    monkeypatch.setenv("GIT_PASSWORD", password)
    server = smart_http(shop.root, login=("ada", password))
    login = base64.b64encode(f"ada:{password}".encode()).decode()
    hook = shop.staging.bare / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\necho 'Basic {login}'\necho 'as {password}' >&2\nexit 1\n")
    hook.chmod(0o755)
    text = SHOP.replace("[file]", "[http]").replace("repository: ", f"repository: {server.url}/")
    login_of = "    credential: {username: ada, password_variable: GIT_PASSWORD}\n    environment:"
    (shop.root / "dataops.yaml").write_text(text.replace("    environment:", login_of))
    shop.project = config.load(shop.root / "dataops.yaml")
    answer = shop.promote("staging")
    assert isinstance(answer, promotion.Rejected)
    assert "*****" in answer.reason
    assert not found({"it": password}, [("answer", repr(answer).encode())])
