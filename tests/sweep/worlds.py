"""The worlds in which the sweep's acts begin: real repositories, a Dagster instance, a platform."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.repositories import Workspace, make_workspace, workspace_at
from tests.sweep.nursery import Ended, Nursery

HERE = Path(__file__).parent
NAMES = ("dev", "staging", "prod")
TARGETS = ("staging", "prod")
HOOKS = ("pre-receive", "update", "reference-transaction", "post-receive")

_CONFIG = """\
project: shop
protocols: [file]
automation: {{interval: 5s}}
workspaces:
  dev:
    repository: dev.git
    environment: dev
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: {receive}
    run: {{platform: command, command: [platform, run], deadline: 1m, when: {run}}}
  prod:
    repository: prod.git
    environment: prod
    upstream: staging
    promote: {promote}
    keep: [hotfix.sql]
    gate: {{environment: staging}}
    auto_rollback: {undo}
    deploy: {{platform: command, command: [platform, deploy], deadline: 1m, when: {deploy}}}
"""
_INSTANCE = """\
telemetry: {enabled: false}
compute_logs:
  module: dagster.core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


@dataclass(frozen=True)
class World:
    """A folder with all that there is: repositories, caches, temporary files, the shims."""

    root: Path
    nursery: Nursery
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def shims(self) -> Path:
        return self.root / "shims"

    def workspace(self, name: str) -> Workspace:
        return workspace_at(self.root, name)

    def configure(
        self,
        *,
        receive: str = "manual",
        run: str = "manual",
        promote: str = "manual",
        deploy: str = "manual",
        undo: str = "false",
    ) -> None:
        """Say what happens by itself."""
        given = {"receive": receive, "run": run, "promote": promote, "deploy": deploy, "undo": undo}
        (self.root / "dataops.yaml").write_text(_CONFIG.format(**given))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATAOPS_CONFIG": str(self.root / "dataops.yaml"),
            "PATH": f"{self.shims}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "DAGSTER_HOME": str(self.root / "dagster"),
            "DATAOPS_CACHE_DIR": str(self.root / "cache"),
            "DATAOPS_STATE_DIR": str(self.root / "state"),
            **self.variables,
        }

    def act(self, name: str, **strike: int | bool) -> Ended:
        """Let a subject do an act."""
        shutil.rmtree(self.shims / "calls", ignore_errors=True)
        (self.shims / "calls").mkdir()
        return self.nursery.subject(name, self.root, self.environment, **strike)

    def arm(self, at: int | str, mode: str, seconds: float = 0.0) -> None:
        """Let the shim strike at the call of a number, or measure `all`."""
        (self.shims / "mode").write_text(f"{mode} {seconds}")
        (self.shims / "at").write_text(f"{at}\n")

    def arm_for(self, call: str, caller: str, mode: str, seconds: float = 0.0) -> None:
        """Let the shim strike at the next call of a name by a process whose arguments have `caller`."""
        (self.shims / "struck").unlink(missing_ok=True)
        (self.shims / "caller").write_text(caller)
        (self.shims / "match").write_text(f"{call}\n")
        self.arm("match", mode, seconds)

    @property
    def is_struck(self) -> bool:
        """Say whether the strike happened that was armed."""
        return (self.shims / "struck").exists()

    def calls(self) -> list[str]:
        """Return the calls that the last act made, in their order."""
        files = [p for p in (self.shims / "calls").iterdir() if p.suffix != ".seconds"]
        return [p.read_text().strip() for p in sorted(files, key=lambda p: int(p.name))]

    def seconds(self, number: int) -> float:
        """Return how long a call took; 0 if that was not measured."""
        measured = self.shims / "calls" / f"{number}.seconds"
        return float(measured.read_text()) if measured.exists() else 0.0

    @property
    def platform(self) -> Path:
        return self.root / "platform-home" / "platform"


def make(root: Path, nursery: Nursery) -> World:
    """Make the shop: the project is in dev, the others have a first commit of their own."""
    world = World(root, nursery)
    for folder in ("home", "tmp", "dagster", "state", "shims/calls", "platform-home/platform"):
        (root / folder).mkdir(parents=True)
    (root / "dagster" / "dagster.yaml").write_text(_INSTANCE)
    for name in NAMES:
        make_workspace(root, name)
        shutil.rmtree(root / f"{name}.git" / "hooks", ignore_errors=True)
    _make_shims(world)
    dev, staging, prod = (world.workspace(name) for name in NAMES)
    dev.commit({"pipeline.yml": "source: users\n", "README.md": "# dev\n"}, "Initial commit")
    staging.commit({"README.md": "# staging\n"}, "Initial commit")
    prod.commit({"README.md": "# prod\n"}, "Initial commit")
    world.configure()
    return world


def _make_shims(world: World) -> None:
    platform = world.root / "platform-home" / "platform.sh"
    shutil.copy(HERE / "platform.sh", platform)
    programs = {"git": str(shutil.which("git")), "platform": str(platform)}
    for name, real in programs.items():
        shutil.copy(HERE / "shim.sh", world.shims / name)
        (world.shims / f"{name}.real").write_text(f"{real}\n")
    shutil.copy(HERE / "strike.py", world.shims)
    (world.shims / "python").symlink_to(sys.executable)
    (world.shims / "at").write_text("0\n")


def arm_hooks(world: World, target: str, mode: str, moment: str) -> None:
    """Let the hooks of a target's repository strike inside a push."""
    folder = world.workspace(target).bare / "hooks"
    folder.mkdir(exist_ok=True)
    text = (HERE / "hook.sh").read_text().replace("SHIMS", str(world.shims))
    for name in HOOKS:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (world.shims / "hook").write_text(f"{mode} {moment}\n")


def _must(ended: Ended) -> None:
    assert ended.code == 0, ended.said


# --- what was before -----------------------------------------------------------------------------


def first(world: World) -> None:
    """Nothing was promoted, and there is no cache."""


def in_staging(world: World) -> None:
    """The project is in staging, and waits for its run."""
    _must(world.act("tell"))  # so that Dagster has made its database
    _must(world.act("promote staging"))
    world.configure(run="change")


def proven(world: World) -> None:
    """Staging's run succeeded; production has an older release, and a commit of its own."""
    released(world)
    world.workspace("prod").commit({"hotfix.sql": "select 1\n"}, "Mend it in a hurry")
    world.workspace("dev").commit({"pipeline.yml": "source: orders\n"}, "Load orders")
    _must(world.act("promote staging"))
    world.configure(run="change")
    _must(world.act("settle"))
    world.configure()


def released(world: World) -> None:
    """Production has a release that was not deployed."""
    in_staging(world)
    _must(world.act("settle"))
    _must(world.act("promote prod"))
    world.configure(deploy="change")


def two_releases(world: World) -> None:
    """Production has two releases."""
    proven(world)
    _must(world.act("promote prod"))


def undeployable(world: World) -> None:
    """Production's second release was refused by the platform, and is to be rolled back."""
    released(world)
    _must(world.act("settle"))
    world.workspace("dev").commit({"refuses-deploy": "\n"}, "Break it")
    _must(world.act("promote staging"))
    world.configure(run="change", promote="change", deploy="change")
    _must(world.act("settle"))
    world.configure(deploy="change", undo="true")


Past: TypeAlias = Callable[[World], None]


@contextmanager
def kept(root: Path, past: Past, nursery: Nursery) -> Iterator[Callable[[], World]]:
    """Make a world once; gives a function that puts it back to its begin, in the same place."""
    world = make(root, nursery)
    past(world)
    (world.platform / "log").unlink(missing_ok=True)
    begin = Path(f"{root}-at-first")
    root.rename(begin)

    def again() -> World:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(begin, root, symlinks=True)
        return world

    yield again
    for folder in (root, begin):
        shutil.rmtree(folder, ignore_errors=True)
