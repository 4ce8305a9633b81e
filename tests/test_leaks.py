"""No secret of a whole project is told or left anywhere, whatever succeeds, fails or prints it."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import secrets as random
import sqlite3
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest

from dataops_dagster import config, promotion
from dataops_dagster.demo import meltano as demo_meltano
from dataops_dagster.errors import ToolError
from dataops_dagster.git import Access
from dataops_dagster.meltano_cloud import following
from dataops_dagster.remotes import Remote, wire
from dataops_dagster.testing.tinybird import Dialect, StandIn
from dataops_dagster.tinybird import forward
from tests import meltano_cloud as standin
from tests import secret_shop as secret_shops
from tests import sshd as sshds
from tests.conftest import SHOP, Shop
from tests.leaks import Watch, found, left_in, told_by, watched
from tests.meltano_cloud import CLIENT_ID, CLIENT_SECRET, TOKEN
from tests.repositories import git
from tests.secret_shop import SecretShop
from tests.smart_http import SmartHttpServer
from tests.tinybird import make_project, tb_command

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


# --- a whole project ------------------------------------------------------------------------------

WHO_MAY_SEE = {
    "DEV_GIT": "git",
    "STAGING_GIT": "git",
    "PROD_GIT": "git",
    "TB_STAGING_TOKEN": "tb",
    "TAP_PASSWORD": "meltano",
    "SERVICE_KEY": "meltano",
    "WAREHOUSE_PASSWORD": "deploy.sh",
}
"""Whose environment a secret may stand in, of the programs that we start; all others in nobody's."""

PRIVATE = "/tmp/dataops-"
"""Where the folders of runs and deployments are, as long as they are."""

PROGRAMS_OWN = {"TAP_PASSWORD", "SERVICE_KEY", "WAREHOUSE_PASSWORD"}
"""What a run or a deployment is given, and prints."""


@pytest.fixture
def secret_shop(tmp_path, tmp_path_factory, monkeypatch) -> Iterator[SecretShop]:
    """A project with a secret of every kind, before anything happened."""
    root, servers = tmp_path / "shop", {}
    for folder in ("shop", "dagster", "tmp"):
        (tmp_path / folder).mkdir()
    values = {name: secret_shops.secret(name) for name in WHO_MAY_SEE if name != "SERVICE_KEY"}
    values |= {"SERVICE_KEY": secret_shops.key()}
    with contextlib.ExitStack() as stack:
        tinybird = stack.enter_context(StandIn())
        cloud = stack.enter_context(standin.serving())
        values["TB_STAGING_TOKEN"] = tinybird.create_workspace("staging_acme").token
        values |= {"CLOUD_ID": CLIENT_ID, "CLOUD_SECRET": CLIENT_SECRET}
        for name in ("dev", "staging", "prod"):
            login = ("ada", values[f"{name.upper()}_GIT"])
            servers[name] = stack.enter_context(serving(root, login))
        keys = tmp_path_factory.mktemp("keys")
        sshd = stack.enter_context(sshds.serving(keys / "sshd"))
        sshd.allow(sshds.make_key(keys / "cloud"), root / "cloud.git")
        (keys / "known_hosts").write_text(sshd.known_host)
        places = {name: server.url for name, server in servers.items()}
        places |= {"ssh": f"{sshd.place}{root}", "keys": str(keys)}
        programs = {"tb": tb_command(Dialect.FORWARD), "meltano": demo_meltano.command(print)}
        (root / "dataops.yaml").write_text(
            secret_shops.PROJECT.format(
                **places, **programs, tinybird=tinybird.url, cloud=cloud.identity_url
            )
        )
        committed = {"committed": f"committed{random.token_hex(16)}"}
        data = make_project(tmp_path_factory.mktemp("data") / "project", Dialect.FORWARD)
        secret_shops.make_repositories(root, secret_shops.make_files(committed["committed"], data))
        cloud.add("My Workspace", f"{places['ssh']}/cloud.git", defaultEnvironment="cloud")
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
        monkeypatch.setenv("DATAOPS_CONFIG", str(root / "dataops.yaml"))
        monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
        monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(forward, "POLL_SECONDS", 0.05)
        key = secret_shops.make_signing_key(tmp_path_factory.mktemp("key"), root / "signers")
        monkeypatch.setenv("KEY_FILE", str(key))
        del values["CLOUD_ID"]  # says who asks, as a user's name does
        secrets = {**values, "CLOUD_TOKEN": TOKEN, "SIGNING_KEY": key.read_text()}
        secrets["SSH_KEY"] = (keys / "cloud").read_text()
        with dg.DagsterInstance.get() as instance:
            yield SecretShop(root, servers, sshd, tinybird, cloud, secrets, committed, instance)


@contextlib.contextmanager
def serving(root: Path, login: tuple[str, str]) -> Iterator[SmartHttpServer]:
    server = SmartHttpServer(root, login=login)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def approve(shop: SecretShop) -> None:
    """Approve what production waits for, by a signature."""
    (digest,) = set(re.findall(r"sha256:[0-9a-f]{64}", shop.command("plan", "prod", "--json")))
    shop.command("approve", "prod", "--plan", digest, "--key", os.environ["KEY_FILE"])


LOOKS = (
    *("status", "check", "why prod", "plan prod", "log prod", "audit prod", "log staging"),
    *("config show staging", "config diff staging prod"),
    *("meltano-cloud workspaces", "tinybird status", "tinybird plan staging"),
)


def look_everywhere(shop: SecretShop) -> None:
    """Call every command that shows something, for people and for machines."""
    page = str(shop.root.parent / "page.html")
    for words in LOOKS:
        shop.command(*words.split())
        shop.command(*words.split(), "--json")
    shop.command("config", "diff", "staging", "prod", "--html", page)
    assert "<table" in Path(page).read_text()


def all_goes_well(shop: SecretShop) -> str:
    """Let a change travel to production, and to Meltano Cloud."""
    said = shop.settle()
    approve(shop)
    return said + shop.settle()


def all_goes_wrong(shop: SecretShop, monkeypatch) -> None:
    """Let a deployment fail, roll back; then wrong passwords, refused pushes, servers that are down."""
    shop.committed["another"] = f"committed{random.token_hex(16)}"
    text = secret_shops.MELTANO.format(committed=shop.committed["another"])
    shop.dev.commit({"meltano.yml": text, "undeployable": ""}, "Break it")
    shop.settle()
    approve(shop)
    assert "the deployment of prod" in shop.settle()
    shop.command("rollback", "prod", "--reason", "it does not deploy")
    shop.dev.commit({"more.txt": "1\n"}, "More")
    hook = shop.root / "staging.git" / "hooks" / "pre-receive"
    login = base64.b64encode(f"ada:{shop.secrets['STAGING_GIT']}".encode()).decode()
    shop.secrets["HEADER"] = login
    outside = Path(os.environ["KEY_FILE"]).parent / "say"
    outside.write_text(f"#!/bin/sh\necho 'Basic {login}'\necho '{login}' >&2\nexit 1\n")
    hook.write_text(f"#!/bin/sh\nexec sh {outside}\n")
    hook.chmod(0o755)
    assert "refused the push" in shop.keep("refused", shop.shop.materialize("staging"))
    shop.command("promote", "staging")
    hook.unlink()
    with monkeypatch.context() as wrong:
        shop.secrets["WRONG"] = secret_shops.secret("WRONG")
        wrong.setenv("STAGING_GIT", shop.secrets["WRONG"])
        assert "credential" in shop.keep("wrong", shop.shop.materialize("staging"))
        shop.command("promote", "staging")
        shop.command("status")
    with monkeypatch.context() as missing:
        missing.delenv("TAP_PASSWORD")
        assert "is not set" in shop.keep("missing", shop.shop.run_workspace("staging"))
    shop.cloud.client_secret = "another"
    monkeypatch.setattr("dataops_dagster.meltano_cloud.login._got", {})
    assert "API key" in shop.keep("cloud", deploy(shop, "cloud"))
    with shop.tinybird.down():
        shop.keep("tinybird", deploy(shop, "staging"))
    shop.sshd.allow_nobody()
    assert "Permission denied (publickey)" in shop.keep("ssh", shop.shop.materialize("cloud"))
    (shop.sshd.folder.parent / "cloud").chmod(0o644)
    assert "ssh.key" in shop.keep("an open key", shop.shop.materialize("cloud"))
    shop.command("promote", "cloud")
    shop.servers["staging"].shutdown()
    shop.servers["staging"].server_close()
    shop.keep("down", shop.shop.materialize("staging"))
    shop.command("promote", "staging")


def deploy(shop: SecretShop, workspace: str) -> dg.ExecuteInProcessResult:
    """Deploy a workspace once more."""
    return shop.shop.launch(
        dg.RunRequest(
            job_name="deploy_shop",
            asset_selection=[dg.AssetKey(["shop", workspace, "deployment"])],
            run_config={"ops": {"deploy__shop": {"config": {"redeploy": True}}}},
        )
    )


def were_used(shop: SecretShop, said: str) -> None:
    """See that every secret was used: what nobody had cannot leak."""
    for name in PROGRAMS_OWN:
        assert secret_shops.proof(shop.secrets[name]) in said, name
    for name, server in shop.servers.items():
        login = base64.b64encode(f"ada:{shop.secrets[f'{name.upper()}_GIT']}".encode()).decode()
        assert f"Basic {login}" in {given for _, given in server.requests}, name
    assert {asked.who for asked in shop.tinybird.requests if asked.status < 300} >= {"staging_acme"}
    assert ("git-receive-pack", "cloud.git") in shop.sshd.asked()
    bodies = [body for _, _, body in shop.cloud.requests]
    assert any(CLIENT_SECRET.encode() in body for body in bodies)
    assert any(given == f"Bearer {TOKEN}" for _, given, _ in shop.cloud.requests)
    assert "dataops-approvals/" in git(shop.root / "staging.git", "tag", "--list")


def check_environments(watch: Watch, secrets: Mapping[str, str]) -> None:
    """See that each program that we started had the secrets that are meant for it, and no others."""
    seen, wrong = set(), []
    for words, env in watch.children:
        names = {Path(word).name for word in words}
        if names & {"watch_orphans.py", "uname"} or "compute_logs" in words[-1]:
            continue  # Dagster's own, which copy the output of a step, and ask for the machine
        for name, secret in secrets.items():
            if any(secret in value for value in env.values()):
                seen.add(name)
                if WHO_MAY_SEE.get(name) not in names or "DAGSTER_HOME" in env:
                    wrong.append((name, words[:8]))
    assert not wrong
    assert seen >= {"TB_STAGING_TOKEN", *PROGRAMS_OWN}


@pytest.mark.slow
def test_no_secret_of_a_whole_project_is_told_or_left(
    secret_shop: SecretShop, tmp_path, monkeypatch, capfd, caplog
):
    caplog.set_level(logging.DEBUG)
    shop = secret_shop
    with watched(tmp_path, pause=0.2) as watch:
        said = all_goes_well(shop)
        assert shop.shop.data_version("shop", "prod", "deployment") is not None, shop.told[-1]
        assert shop.shop.data_version("shop", "cloud", "deployment") is not None, shop.told[-1]
        look_everywhere(shop)
        all_goes_wrong(shop, monkeypatch)
        look_everywhere(shop)
    were_used(shop, said)
    check_environments(watch, shop.secrets)
    shop.say("output", "".join(capfd.readouterr()))
    shop.say("logging", caplog.text)
    words = [("arguments", argument) for argument in watch.arguments]
    sinks = [*shop.told, *words, *left_in(tmp_path)]
    assert len(sinks) > 500
    assert found(shop.secrets, sinks) == []
    # What a program writes into its own folder, which goes with it, is its own affair.
    seen = [(str(path), data) for path, data in watch.files.items()]
    private = [sink for sink in seen if PRIVATE in sink[0]]
    others = {name: it for name, it in shop.secrets.items() if name not in PROGRAMS_OWN}
    assert private
    assert found(others, private) == []
    assert found(shop.secrets, [sink for sink in seen if PRIVATE not in sink[0]]) == []
    # What stands in the repository is in git, and in what is exported of it for a while.
    beside = [tmp_path / "dagster", tmp_path / "state"]
    left = [sink for folder in beside for sink in left_in(folder)]
    assert not found(shop.committed, [*shop.told, *words, *left])
