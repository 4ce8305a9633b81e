"""A situation: one workspace at a stand-in for Tinybird, deployed to by the real `tb`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dataops_dagster.settings_tinybird import Dialect, Tinybird
from dataops_dagster.testing.tinybird import Dialect as Spoken
from dataops_dagster.testing.tinybird import StandIn, Workspace
from dataops_dagster.tinybird import deploying, forward
from dataops_dagster.tinybird.deploying import Deployed, Planned
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.site import Order
from tests.tinybird import make_project, tb_command

NAME = "staging_acme"
TOKEN, USER_TOKEN = "TB_STAGING_TOKEN", "TB_USER_TOKEN"
COMMIT, TREE = "c0ffee" * 6 + "c0ff", "7ee" * 13 + "7"
Change = Callable[[Path], object]


def nothing(_folder: Path) -> None:
    """Change nothing in the data project."""


@dataclass(repr=False)
class Site:
    """A workspace, and what is said while it is worked on."""

    stand_in: StandIn
    workspace: Workspace
    executable: str
    dialect: Dialect
    lines: list[str] = field(default_factory=list)
    on_line: Callable[[str], None] = lambda _: None

    def settings(self, **more: object) -> Tinybird:
        return Tinybird.model_validate(
            {
                "host": self.stand_in.url,
                "workspace": self.workspace.name,
                "token_variable": TOKEN,
                "executable": self.executable,
                "dialect": self.dialect.value,
                "production": False,
                **more,
            }
        )

    def order(self, folder: Path, change: Change = nothing, **more: object) -> Order:
        """Return what is wanted: the project, changed, in a folder; `more` are settings or fields."""
        spoken = Spoken(self.dialect.value)
        change(make_project(folder / "files", spoken))
        known = {name: more.pop(name) for name in list(more) if name in Order.__dataclass_fields__}
        fields = {"commit": COMMIT, "tree": TREE, "seconds": 60.0, "target": "staging", **known}
        return Order(settings=self.settings(**more), folder=folder, on_line=self._say, **fields)

    def _say(self, line: str) -> None:
        self.lines.append(line)
        self.on_line(line)

    def deploy(self, change: Change = nothing, **more: object) -> Deployed | Planned | Refusal:
        """Deploy the project, changed, from a folder that goes afterwards."""
        self.lines.clear()
        with tempfile.TemporaryDirectory() as folder:
            return deploying.deploy(self.order(Path(folder), change, **more))

    def plan(self, change: Change = nothing, **more: object) -> Planned | Refusal:
        """Plan the deployment of the project, changed."""
        with tempfile.TemporaryDirectory() as folder:
            return deploying.plan(self.order(Path(folder), change, **more))

    def asked(self, method: str, beginning: str) -> list[str]:
        """Return the paths that were asked for with a method, and that begin so."""
        asked = self.stand_in.requests
        return [a.path for a in asked if a.method == method and a.path.startswith(beginning)]

    @property
    def state(self) -> Path:
        """The folder of what is remembered between deployments."""
        return Path(os.environ["DATAOPS_STATE_DIR"])

    @property
    def served(self) -> set[str]:
        """The resources that the workspace has."""
        return set(self.workspace.resources)


def remove(*names: str) -> Change:
    """Remove definitions from the data project."""

    def change(folder: Path) -> None:
        for name in names:
            (path,) = [p for s in ("pipe", "datasource") for p in folder.rglob(f"{name}.{s}")]
            path.unlink()

    return change


def add_endpoint(name: str) -> Change:
    """Add an endpoint to the data project: a copy of one under another name."""

    def change(folder: Path) -> None:
        (known,) = folder.rglob("long_rides.pipe")
        known.with_name(f"{name}.pipe").write_text(known.read_text().replace("long_rides", name))

    return change


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as found:
        yield found


@pytest.fixture
def forward_site(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A workspace of Forward's, empty."""
    return _site(stand_in, Dialect.FORWARD, tmp_path, monkeypatch)


@pytest.fixture
def classic_site(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A workspace of Classic's, empty."""
    return _site(stand_in, Dialect.CLASSIC, tmp_path, monkeypatch)


def _site(
    stand_in: StandIn, dialect: Dialect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    spoken = Spoken(dialect.value)
    workspace = stand_in.create_workspace(NAME, spoken)
    monkeypatch.setenv(TOKEN, workspace.token)
    monkeypatch.setenv(USER_TOKEN, stand_in.user_token)
    monkeypatch.setenv("DATAOPS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(forward, "POLL_SECONDS", 0.05)
    return Site(stand_in, workspace, tb_command(spoken), dialect)


__all__ = [
    "COMMIT", "NAME", "TOKEN", "TREE", "USER_TOKEN", "Change", "Site", "add_endpoint",
    "classic_site", "forward_site", "nothing", "remove", "stand_in",
]  # fmt: skip
