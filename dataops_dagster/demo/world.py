"""The demo's files: three repositories as a platform would have made them, and a person's clone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from dataops_dagster import process
from dataops_dagster.errors import ConfigError, ToolError

_HERE = Path(__file__).parent
_MARK = ".dataops-demo"


@dataclass(frozen=True)
class World:
    """Where everything of the demo is; nothing of it lies elsewhere."""

    home: Path

    @property
    def config(self) -> Path:
        """The project's dataops.yaml."""
        return self.home / "dataops.yaml"

    @property
    def dagster_home(self) -> Path:
        """The folder of the Dagster instance."""
        return self.home / "dagster"

    @property
    def platform(self) -> Path:
        """What stands for the production platform: the files it serves."""
        return self.home / "platform"

    @property
    def clone(self) -> Path:
        """A person's clone of the dev workspace."""
        return self.home / "clone"

    def repository(self, workspace: str) -> Path:
        """Return the bare repository of a workspace."""
        return self.home / "repositories" / f"{workspace}.git"

    def environment(self) -> dict[str, str]:
        """Return the variables that Dagster's processes, and the reader's, need."""
        return {
            "DAGSTER_HOME": str(self.dagster_home),
            "DATAOPS_CONFIG": str(self.config),
            "DATAOPS_CACHE_DIR": str(self.home / "cache"),
            "DATAOPS_STATE_DIR": str(self.home / "state"),
            "DATAOPS_DEMO_PLATFORM": str(self.platform),
            # Each run is a new process: let it find the modules compiled.
            "PYTHONDONTWRITEBYTECODE": "",
        }


def create(home: Path, meltano: str) -> World:
    """Make the demo's world anew in `home`; refuses to touch a folder that is not a demo's."""
    world = World(home.absolute())
    if home.exists() and any(home.iterdir()) and not (home / _MARK).exists():
        raise ConfigError.at(
            str(home), "is not empty and was not made by the demo", "name another with --home"
        )
    shutil.rmtree(home, ignore_errors=True)
    (world.dagster_home / ".nux").mkdir(parents=True)
    (home / _MARK).touch()
    # Dagster's UI would ask for a newsletter first.
    (world.dagster_home / ".nux" / "nux.yaml").write_text("seen: 1\n")
    shutil.copy(_HERE / "dagster.yaml", world.dagster_home / "dagster.yaml")
    text = (_HERE / "dataops.yaml").read_text()
    text = text.replace("SCHEMA", str(_HERE.parent / "dataops.schema.json"))
    text = text.replace("run: [load-users]", f"run: [load-users]\n      executable: {meltano}")
    world.config.write_text(text)
    for workspace in ("dev", "staging", "prod"):
        _make_repository(world, workspace)
    git(world.home, "clone", "--quiet", str(world.repository("dev")), str(world.clone))
    return world


def _make_repository(world: World, workspace: str) -> None:
    """Make a repository with a first commit of its own, as a platform does for a workspace."""
    bare, seed = world.repository(workspace), world.home / "seed"
    bare.parent.mkdir(exist_ok=True)
    git(world.home, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git(world.home, "clone", "--quiet", str(bare), str(seed))
    (seed / "README.md").write_text(f"# A warm welcome to {workspace}\n")
    if workspace == "dev":
        shutil.copytree(_HERE / "project", seed, dirs_exist_ok=True)
    commit(seed, "Initial commit")
    shutil.rmtree(seed)


def commit(clone: Path, message: str) -> str:
    """Commit everything in a clone and push it, as a person would; returns the commit."""
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", f"--message={message}")
    git(clone, "push", "--quiet", "origin", "HEAD:main")
    return git(clone, "rev-parse", "HEAD")


def git(folder: Path, *arguments: str) -> str:
    """Run git by hand: the person's side of the story, with no settings of this machine."""
    person = {"NAME": "Ada", "EMAIL": "ada@example.com"}
    env = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in person.items()}
    env |= {"HOME": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    env |= {"GIT_TERMINAL_PROMPT": "0"}
    done = process.run(
        ["git", *arguments], env=process.environment((), env), cwd=folder, deadline=60.0
    )
    if done.code:
        raise ToolError(f"git {arguments[0]}", done.code, done.stderr.decode("utf-8", "replace"))
    return done.stdout.decode("utf-8", "replace").strip()
