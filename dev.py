#!/usr/bin/env python3
"""Runs the demo, the tests and the linters from nothing but Python >= 3.10 and git.

- `python3 dev.py demo [--open]`: watch a change travel to production
- `python3 dev.py test [-m slow | -m sql] [...]`: the tests; arguments go to pytest
- `python3 dev.py lint`: formatter, linter, type checker, import contracts
- `python3 dev.py lowest [...]`: the tests on the oldest dependencies we allow
- `python3 dev.py sweep [...]`: kills at every moment of all acts, and what became of the promises
- `python3 dev.py docs`: the documentation as a site, in .site
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
GROUPS = {
    "demo": [],
    "test": ["test"],
    "lint": ["test", "lint"],
    "lowest": ["test"],
    "sweep": ["test"],
    "docs": ["docs"],
}
MARKED = {"sql": ["sql"], "slow": ["browser", "docs"]}
"""What tests with a mark need beside."""


def main(arguments: list[str]) -> int:
    """Do what the first argument says, in a virtual environment made for it."""
    if sys.version_info < (3, 10):  # noqa: UP036  # run before anything is installed
        print(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}")
        return 2
    if not arguments or arguments[0] not in GROUPS:
        print(__doc__)
        return 2
    task, rest = arguments[0], arguments[1:]
    environment = ROOT / (".venv-lowest" if task == "lowest" else ".venv")
    try:
        if task in ("test", "lowest"):
            # Git's own package only recommends what signs and verifies approvals.
            have("ssh-keygen", "openssh-client")
        marked = [mark for mark in MARKED if mark in " ".join(rest).split()]
        if "slow" in marked:
            have("chromium", "chromium")
        groups = [*GROUPS[task], *(group for mark in marked for group in MARKED[mark])]
        install(environment, groups, lowest=task == "lowest")
        *first, last = commands(task, rest)
        for command in first:
            run(environment / "bin" / command[0], *command[1:])
        # In our place, so that Ctrl-C reaches it alone and it can end what it started.
        os.chdir(ROOT)
        os.execve(environment / "bin" / last[0], last, child_environment())
    except subprocess.CalledProcessError as failed:
        return failed.returncode or 1
    except KeyboardInterrupt:
        return 130
    return 0


def commands(task: str, rest: list[str]) -> list[list[str]]:
    """Return the commands of a task; each is a program of the virtual environment."""
    if task == "demo":
        return [["dataops", "demo", *rest]]
    if task == "docs":
        return [["mkdocs", "build", "--strict", *rest]]
    if task == "sweep":
        return [["python", "-m", "tests.sweep", *rest]]
    if task == "lint":
        return [
            ["ruff", "format", "--check", "."],
            ["ruff", "check", "."],
            ["mypy"],
            ["lint-imports"],
        ]
    return [["pytest", "--numprocesses=auto", "--dist=loadgroup", *rest]]


def have(program: str, package: str) -> None:
    """Install a program that tests need and no Python package brings; raises `CalledProcessError`."""
    if shutil.which(program):
        return
    print(f"{program} is needed; on Debian: apt install {package}", flush=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-qq", "-y", package]):
            subprocess.run(["apt-get", *words], env=quiet, check=True)
        return
    raise subprocess.CalledProcessError(1, program)


def install(environment: Path, groups: list[str], *, lowest: bool) -> None:
    """Make the virtual environment, or bring it up to what pyproject.toml says now."""
    wanted = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamps = [environment / f".installed-{name}" for name in ["project", *groups]]
    if all(stamp.exists() and stamp.read_text() == wanted for stamp in stamps):
        return
    print(f"installing into {environment.name} …", flush=True)
    if not (environment / "bin" / "pip").exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False)
        if made.returncode:
            print("this Python makes no virtual environments; on Debian: apt install python3-venv")
            raise subprocess.CalledProcessError(made.returncode, "venv")
    python = environment / "bin" / "python"
    # uv installs a hundred packages in seconds, and can pick the lowest versions.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.7")
    run(
        environment / "bin" / "uv",
        *("pip", "install", "--quiet", "--compile-bytecode", f"--python={python}"),
        *(["--resolution=lowest-direct"] if lowest else []),
        *("--editable", str(ROOT)),
        *(f"--group={ROOT / 'pyproject.toml'}:{group}" for group in groups),
    )
    for stamp in stamps:
        stamp.write_text(wanted)


def run(program: Path, *arguments: str) -> None:
    """Run a program in the project's folder; raises `CalledProcessError`."""
    subprocess.run([str(program), *arguments], cwd=ROOT, env=child_environment(), check=True)


def child_environment() -> dict[str, str]:
    """Return our environment as installers and Dagster's processes want it."""
    env = dict(os.environ)
    # Modules that are not kept compiled are compiled again by each of Dagster's processes.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    # As pip does: trust what this machine trusts, and take packages from where it takes them.
    env.setdefault("UV_SYSTEM_CERTS", "true")
    env.setdefault("NO_MKDOCS_2_WARNING", "true")  # its theme's, about a release that is not ours
    if "PIP_INDEX_URL" in env:
        env.setdefault("UV_DEFAULT_INDEX", env["PIP_INDEX_URL"])
    return env


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
