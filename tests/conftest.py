"""Situations: each fixture is one that a user may be in, made of real repositories."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import settings

from dataops_dagster import config, promotion
from dataops_dagster.demo.meltano import MELTANO
from dataops_dagster.gate.evidence import what_ran
from dataops_dagster.model import Decision, Evidence, Outcome
from dataops_dagster.settings import Project
from dataops_dagster.settings_steps import CommandStep
from dataops_dagster.store import Store
from dataops_dagster.testing.tinybird import Dialect
from tests.repositories import Workspace, make_workspace, workspace_at
from tests.smart_http import SmartHttpServer
from tests.tinybird import LOCKED, TOOLS, tb_command

# A loaded machine is no slow program; and CI answers for the change, not for what chance finds.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# What a script starts by `&` ignores Ctrl-C, with Dagster SIGTERM too; and so would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Stop where what shares a machine would be spread over the workers: xdist marks it by its id."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if getattr(session.config.option, "loadgroup", False) and any(
        "@" not in item.nodeid for item in grouped
    ):
        raise pytest.UsageError("pytest-xdist does not keep groups together in this pytest")


NOW = datetime(2026, 11, 22, 6, 0, tzinfo=timezone.utc)

SHOP = """\
project: shop
protocols: [file]
workspaces:
  dev:
    repository: dev.git
    environment: dev
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: change
    run: {platform: command, command: [sh, run.sh], deadline: 1m}
  prod:
    repository: prod.git
    environment: prod
    upstream: staging
    promote: change
    gate: {environment: staging}
    deploy: {platform: command, command: [sh, deploy.sh], deadline: 1m}
"""


RUN = CommandStep(platform="command", command=("sh", "run.sh"), deadline="1m")


@dataclass
class Book:
    """Evidence kept in a list, for tests of what happens without Dagster."""

    evidence: list[Evidence] = field(default_factory=list)
    decided: list[Decision] = field(default_factory=list)

    def decisions(self, _project, target):
        return [decision for decision in self.decided if decision.target == target]

    def job_runs(self, *_):
        return []

    def find(self, _project, workspace, environment, commits):
        return [
            e
            for e in self.evidence
            if (e.workspace, e.environment) == (workspace, environment) and e.commit in commits
        ]

    def record(self, workspace, commit, tree, outcome=Outcome.PASSED, *, after=0):
        self.evidence.append(
            Evidence(
                workspace=workspace,
                commit=commit,
                tree=tree,
                environment=workspace,
                outcome=outcome,
                run_id=f"run-{len(self.evidence) + 1}",
                time=NOW + timedelta(seconds=after),
                ran="sh run.sh",
                digest=what_ran(RUN, tree=tree, environment=workspace),
            )
        )


@dataclass
class Shop:
    """The project `shop`: dev, staging and prod, and what the functions under test take."""

    root: Path
    dev: Workspace
    staging: Workspace
    prod: Workspace
    project: Project
    store: Store
    book: Book

    def consider(self, target: str, **more):
        return promotion.consider(
            self.project,
            self.project.workspaces[target],
            store=self.store,
            book=self.book,
            **{"now": NOW, **more},
        )

    def promote(self, target: str, **more):
        return promotion.promote(
            self.project,
            self.project.workspaces[target],
            store=self.store,
            book=self.book,
            **{"now": NOW, **more},
        )

    def prove(self, workspace: Workspace, outcome: Outcome = Outcome.PASSED, *, after=0):
        """Record a run of the workspace's head."""
        self.book.record(
            workspace.bare.stem, workspace.head, workspace.tree(), outcome, after=after
        )


WORKSPACES = ("dev", "staging", "prod")


def make_shop(root: Path, text: str = SHOP) -> Shop:
    (root / "dataops.yaml").write_text(text)
    for name in WORKSPACES:
        make_workspace(root, name)
    return shop_at(root)


def shop_at(root: Path) -> Shop:
    project = config.load(root / "dataops.yaml")
    workspaces = (workspace_at(root, name) for name in WORKSPACES)
    return Shop(root, *workspaces, project, Store(root / "cache", "shop"), Book())


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches and state of every test in its own folder."""
    monkeypatch.setenv("DATAOPS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DATAOPS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("DATAOPS_CONFIG", raising=False)


@pytest.fixture
def empty_shop(tmp_path: Path) -> Shop:
    """Three workspaces without a commit."""
    return make_shop(tmp_path)


PROJECT_FILES = {
    "pipeline.yml": "source: users\ntarget: warehouse\n",
    "run.sh": 'echo "running $DATAOPS_WORKSPACE in $DATAOPS_ENVIRONMENT"\ntest ! -e broken\n',
    "deploy.sh": 'echo "deploying $DATAOPS_COMMIT"\ntest ! -e undeployable\n',
    "README.md": "# dev\n",
}


def fill(shop: Shop) -> Shop:
    """Commit the project in dev, and what a platform made in the others."""
    shop.dev.commit(PROJECT_FILES, "Initial commit")
    shop.staging.commit({"README.md": "# staging\n"}, "Initial commit")
    shop.prod.commit({"README.md": "# prod\n"}, "Initial commit")
    return shop


def promote_all_the_way(shop: Shop) -> Shop:
    shop.promote("staging")
    shop.prove(shop.staging)
    shop.promote("prod")
    return shop


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """What `shop` is, made once by each worker."""
    return fill(make_shop(tmp_path_factory.mktemp("filled")))


@pytest.fixture
def shop(filled_once: Shop, tmp_path: Path) -> Shop:
    """A project in dev, and two workspaces that a platform made: unrelated first commits."""
    shutil.copytree(filled_once.root, tmp_path, dirs_exist_ok=True)
    return shop_at(tmp_path)


@pytest.fixture
def promoted_shop(shop: Shop) -> Shop:
    """The project went all the way once: staging and prod hold dev's tree."""
    return promote_all_the_way(shop)


@pytest.fixture(scope="session")
def promoted_once(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """What `promoted_shop` is, made once by each worker, and where each test finds it anew."""
    root = tmp_path_factory.mktemp("promoted")
    made = promote_all_the_way(fill(make_shop(root)))
    shutil.copytree(root, f"{root}-at-first")
    return made


@pytest.fixture
def running_shop(promoted_once: Shop) -> Iterator[Shop]:
    """The same as `promoted_shop`, for the many tests that begin there: a copy in its place."""
    root = promoted_once.root
    shutil.rmtree(root)
    shutil.copytree(f"{root}-at-first", root)
    store = Store(root / "cache", "shop")
    yield dataclasses.replace(
        promoted_once, store=store, book=Book(list(promoted_once.book.evidence))
    )
    shutil.rmtree(root)
    root.mkdir()


@pytest.fixture
def smart_http() -> Iterator[Callable[..., SmartHttpServer]]:
    """Serve a folder of bare repositories by git's own smart HTTP backend."""
    servers: list[SmartHttpServer] = []

    def serve(root: Path, **more: object) -> SmartHttpServer:
        server = SmartHttpServer(root, **more)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def meltano_command() -> str:
    """The real Meltano, installed once into a virtual environment of its own."""
    locked = dataclasses.replace(MELTANO, locked=LOCKED / "meltano.txt")
    return locked.command(print, tools=TOOLS)


@pytest.fixture(scope="session")
def tb_commands() -> dict[Dialect, str]:
    """The real command lines of Tinybird, each installed once into an environment of its own."""
    return {dialect: tb_command(dialect) for dialect in Dialect}
