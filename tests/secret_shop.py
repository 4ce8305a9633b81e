"""A project that uses every kind of secret there is, and all that was told while it was used."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from click.testing import CliRunner

from dataops_dagster import config
from dataops_dagster.cli import main
from dataops_dagster.testing.tinybird import StandIn
from tests.conftest import Shop
from tests.dagster_shop import DagsterShop
from tests.leaks import told_by
from tests.meltano_cloud import MeltanoCloud
from tests.repositories import Workspace, make_workspace, workspace_at
from tests.smart_http import SmartHttpServer
from tests.sshd import Sshd

PROJECT = """\
project: shop
protocols: [http, ssh]
workspaces:
  dev:
    repository: {dev}/dev.git
    environment: dev
    credential: {{username: ada, password_variable: DEV_GIT}}
  staging:
    repository: {staging}/staging.git
    environment: staging
    upstream: dev
    promote: change
    credential: {{username: ada, password_variable: STAGING_GIT}}
    tinybird:
      host: {tinybird}
      workspace: staging_acme
      token_variable: TB_STAGING_TOKEN
      executable: {tb}
      destructive: allowed
      production: false
    deploy: {{platform: tinybird, deadline: 2m}}
    run:
      platform: meltano
      run: [load]
      executable: {meltano}
      deadline: 2m
      variables: [TAP_PASSWORD, SERVICE_KEY]
  prod:
    repository: {prod}/prod.git
    environment: prod
    upstream: staging
    promote: change
    credential: {{username: ada, password_variable: PROD_GIT}}
    gate: {{environment: staging, approvals: {{allowed_signers: signers, exclude_authors: false}}}}
    deploy:
      platform: command
      command: [sh, deploy.sh]
      deadline: 1m
      variables: [WAREHOUSE_PASSWORD]
  cloud:
    repository: {ssh}/cloud.git
    environment: cloud
    upstream: staging
    promote: change
    ssh: {{key: {keys}/cloud, known_hosts: {keys}/known_hosts}}
    gate: {{environment: staging}}
    deploy:
      platform: meltano_cloud
      workspace: My Workspace
      url: {cloud}/api
      identity_url: {cloud}
      client_id_variable: CLOUD_ID
      client_secret_variable: CLOUD_SECRET
      deadline: 1m
"""
MELTANO = """\
project_id: 5b6f0c8e-4f0b-4d0b-9a6e-3f1d6f1f2c11
environments:
- {{name: dev}}
- {{name: staging}}
- {{name: cloud}}
- name: prod
  config: {{plugins: {{extractors: [{{name: tap-rows, config: {{password: in-prod-{committed}}}}}]}}}}
plugins:
  extractors:
  - name: tap-rows
    namespace: tap_rows
    executable: ./bin/tap
    capabilities: [discover, catalog, state]
    settings: [{{name: password, kind: password}}]
    config:
      password: {committed}
  loaders:
  - {{name: target-files, namespace: target_files, executable: ./bin/target}}
jobs:
- {{name: load, tasks: [tap-rows target-files]}}
"""
PRINT = """#!/usr/bin/env python3
import base64, hashlib, json, os, sys, urllib.parse
for name in sys.argv[1:]:
    value = os.environ[name]
    print("proof", hashlib.sha256(value.encode()).hexdigest(), file=sys.stderr)
    for form in (
        value,
        urllib.parse.quote(value, safe=""),
        urllib.parse.urlencode({"password": value}),
        json.dumps({"password": value}),
        str({"password": value}),
        base64.b64encode(b"ada:" + value.encode()).decode(),
    ):
        print("debug:", form, file=sys.stderr)
"""
TAP = """#!/usr/bin/env python3
import json, subprocess, sys
if "--discover" in sys.argv:
    print(json.dumps({"streams": [{"tap_stream_id": "rows", "stream": "rows", "schema": {}}]}))
    sys.exit()
subprocess.run([sys.executable, "bin/print", "TAP_PASSWORD", "SERVICE_KEY"], check=True)
for message in (
    {"type": "SCHEMA", "stream": "rows", "schema": {}, "key_properties": []},
    {"type": "RECORD", "stream": "rows", "record": {"id": 1}},
):
    print(json.dumps(message), flush=True)
"""
TARGET = "#!/usr/bin/env python3\nimport sys\nfor line in sys.stdin: pass\n"
DEPLOY = "python3 bin/print WAREHOUSE_PASSWORD\ntest ! -e undeployable\n"


def secret(name: str) -> str:
    """Make a secret with all that is hard to find again when it is quoted."""
    return f"{name}+{secrets.token_hex(12)}/é &\"'%"


def key() -> str:
    """Make a secret of several lines, as a private key is."""
    lines = (secrets.token_urlsafe(48) for _ in range(3))
    return "\n".join(["-----BEGIN SECRET THING-----", *lines, "-----END SECRET THING-----", ""])


@dataclass
class SecretShop:
    """The project in a Dagster instance, its servers, its secrets, and all that was told."""

    root: Path
    servers: Mapping[str, SmartHttpServer]
    sshd: Sshd
    tinybird: StandIn
    cloud: MeltanoCloud
    secrets: dict[str, str]
    committed: dict[str, str]
    instance: dg.DagsterInstance
    told: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shop = DagsterShop(shop_at_http(self.root), self.instance)

    @property
    def dev(self) -> Workspace:
        return self.shop.shop.dev

    def say(self, where: str, text: str) -> None:
        self.told.append((where, text.encode("utf-8", "surrogateescape")))

    def command(self, *words: str) -> str:
        """Call the command line, keep all that it says, and return it."""
        done = CliRunner().invoke(main, list(words))
        said = f"{done.output}\n{told_by(done.exception)}"
        self.say(f"dataops {' '.join(words)}", said)
        return said

    def keep(self, where: str, done: dg.ExecuteInProcessResult) -> str:
        """Keep all that a run said; returns it."""
        said = "\n".join(map(repr, [*done.all_events, *self.instance.all_logs(done.run_id)]))
        self.say(f"run {where}", said)
        return said

    def settle(self) -> str:
        """Do what is due until nothing is; returns all that the runs said."""
        said = []
        for _ in range(15):
            requests = self.shop.ask()
            self.say("requests", repr(requests))
            if not requests:
                return "\n".join(said)
            said.extend(self.keep(str(r.run_key), self.shop.launch(r)) for r in requests)
        raise AssertionError("never settles")


def shop_at_http(root: Path) -> Shop:
    """Return the shop, whose project has more than three workspaces."""
    from dataops_dagster.store import Store
    from tests.conftest import Book

    project = config.load(root / "dataops.yaml")
    workspaces = (workspace_at(root, name) for name in ("dev", "staging", "prod"))
    return Shop(root, *workspaces, project, Store(root / "cache", "shop"), Book())


def proof(value: str) -> str:
    """Return what a program prints that has seen a secret."""
    return hashlib.sha256(value.encode()).hexdigest()


def make_files(committed: str, data_project: Path) -> dict[str, str]:
    """Return the files of the project, data project and pipelines."""
    files = {
        str(path.relative_to(data_project)): path.read_text()
        for path in sorted(data_project.rglob("*"))
        if path.is_file()
    }
    plugins = {"bin/tap": TAP, "bin/target": TARGET, "bin/print": PRINT}
    return {
        **files,
        **plugins,
        "meltano.yml": MELTANO.format(committed=committed),
        "deploy.sh": DEPLOY,
    }


def make_repositories(root: Path, files: Mapping[str, str]) -> None:
    """Make the four repositories; dev has the files, some of which are programs."""
    made = {name: make_workspace(root, name) for name in ("dev", "staging", "prod", "cloud")}
    for name in ("staging", "prod", "cloud"):
        made[name].commit({"README.md": f"# {name}\n"}, "Initial commit")
    dev = made["dev"]
    for name in ("bin/tap", "bin/target"):
        path = dev.clone / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(0o755)
    dev.commit(files, "Initial commit")


def make_signing_key(folder: Path, signers: Path) -> Path:
    """Make Ada's key outside of what is searched; returns where it is."""
    path = folder / "key"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example.com", "-f"]
    subprocess.run([*words, str(path)], check=True)
    signers.write_text(f"ada@example.com {path.with_suffix('.pub').read_text()}")
    return path
