"""Real repositories for tests, made by git itself as a person would make them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PERSON = {
    **{f"GIT_{role}_NAME": "Grace" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "grace@example.com" for role in ("AUTHOR", "COMMITTER")},
}
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "init.defaultBranch",
    "GIT_CONFIG_VALUE_0": "main",
    **PERSON,
}


Files = Mapping[str, str | bytes | None]
"""What is to stand at paths; None deletes one."""


def git(folder: Path, *arguments: str, code: int | None = 0) -> str:
    """Run git by hand in `folder`; `code` is the exit code it must have (None for any)."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, check=False
    )
    assert code is None or done.returncode == code, done.stderr.decode()
    return done.stdout.decode("utf-8", "replace").strip("\n")


@dataclass(frozen=True)
class Workspace:
    """A workspace's bare repository, and a person's clone of it."""

    bare: Path
    clone: Path

    @property
    def url(self) -> str:
        return f"file://{self.bare}"

    @property
    def head(self) -> str:
        return git(self.bare, "rev-parse", "--verify", "--quiet", "refs/heads/main", code=None)

    def commit(self, files: Files, message: str = "Change") -> str:
        """Commit files (None deletes one) on top of the head and push; returns the commit."""
        if self.head:
            git(self.clone, "fetch", "--quiet", "origin")
            git(self.clone, "reset", "--quiet", "--hard", "origin/main")
        for name, content in files.items():
            path = self.clone / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "--allow-empty", "-m", message)
        git(self.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
        return self.head

    def merge(self, other: Workspace) -> str:
        """Merge another workspace by hand, as the guides say; returns the new head."""
        git(self.clone, "fetch", "--quiet", "origin")
        git(self.clone, "reset", "--quiet", "--hard", "origin/main")
        git(
            self.clone,
            *("pull", "--quiet", "--no-rebase", "--no-edit", "-X", "theirs"),
            *("--allow-unrelated-histories", str(other.bare), "main"),
        )
        git(self.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
        return self.head

    def tree(self, commit: str = "refs/heads/main") -> str:
        return git(self.bare, "rev-parse", f"{commit}^{{tree}}")

    def show(self, path: str) -> str:
        return git(self.bare, "show", f"refs/heads/main:{path}")

    def files(self) -> list[str]:
        return git(self.bare, "ls-tree", "-r", "--name-only", "refs/heads/main").splitlines()

    def tags(self) -> list[str]:
        return git(self.bare, "tag", "--list").splitlines()


def make_workspace(root: Path, name: str) -> Workspace:
    """Make an empty workspace."""
    made = workspace_at(root, name)
    git(root, "init", "--quiet", "--bare", str(made.bare))
    git(root, "clone", "--quiet", str(made.bare), str(made.clone))
    git(made.clone, "remote", "set-url", "origin", f"../{made.bare.name}")  # may be copied along
    return made


def workspace_at(root: Path, name: str) -> Workspace:
    return Workspace(root / f"{name}.git", root / f"{name}-clone")
