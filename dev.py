#!/usr/bin/env python3
"""Runs the demo, the tests and the linters from nothing but Python >= 3.10 and git.

- `python3 dev.py demo [--open]`: watch a change travel to production
- `python3 dev.py test [-m slow | -m sql] [...]`: the tests; arguments go to pytest
- `python3 dev.py lint`: formatter, linter, type checker, import contracts
- `python3 dev.py lowest [...]`: the tests on the oldest dependencies we allow
- `python3 dev.py sweep [...]`: kills at every moment of all acts, and what became of the promises
- `python3 dev.py docs`: the documentation as a site, in .site
- `python3 dev.py lock`: choose the packages of all these anew, in `locked`
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
    "lock": ["sbom"],
}
MARKED = {"sql": ["sql"], "slow": ["browser", "docs"]}
"""What tests with a mark need beside."""
SSHD_STAYS_DOWN = Path("/etc/ssh/sshd_not_to_be_run")
"""Where this is, Debian's service for ssh does not start: the tests start an sshd of their own."""
LOCKED = ROOT / "locked"
"""Each package that is installed here, with its hashes; only `lock` installs what is in none of them."""
TOOLS = {
    "uv": "3.10",
    "matatika": "3.10",
    "meltano": "3.10",
    "tinybird": "3.11",
    "tinybird-cli": "3.10",
}
"""What has environments of its own, and the first Python that it is locked for."""


def main(arguments: list[str]) -> int:
    """Do what the first argument says, in a virtual environment made for it."""
    if sys.version_info < (3, 10):  # noqa: UP036  # run before anything is installed
        print(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}")
        return 2
    if not arguments or arguments[0] not in GROUPS:
        print(__doc__)
        return 2
    task, rest = arguments[0], arguments[1:]
    environment = ROOT / {"lowest": ".venv-lowest", "lock": ".venv-lock"}.get(task, ".venv")
    locked = {"lowest": LOCKED / "lowest.txt", "lock": None}.get(task, LOCKED / "newest.txt")
    try:
        if task in ("test", "lowest"):
            # Git's own package only recommends what signs and verifies approvals.
            have("ssh-keygen", "openssh-client")
        marked = [mark for mark in MARKED if mark in " ".join(rest).split()]
        if "slow" in marked:
            have("chromium", "chromium")
            have("sshd", "openssh-server", unless=SSHD_STAYS_DOWN)
        groups = [*GROUPS[task], *(group for mark in marked for group in MARKED[mark])]
        install(environment, groups, locked)
        if task == "lock":
            lock(environment)
            return 0
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


def have(program: str, package: str, *, unless: Path | None = None) -> None:
    """Install a program that tests need and no Python package brings; raises `CalledProcessError`.

    `unless` is the file whose presence keeps the package's own daemon from being started.
    """
    if shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"):
        return
    print(f"{program} is needed; on Debian: apt install {package}", flush=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        if unless:
            unless.touch()
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update", "-qq"], ["install", "-qq", "-y", package]):
            subprocess.run(["apt-get", *words], env=quiet, check=True)
        return
    raise subprocess.CalledProcessError(1, program)


def install(environment: Path, groups: list[str], locked: Path | None) -> None:
    """Make the virtual environment, or bring it up to what pyproject.toml and the lock say now."""
    project, bootstrap = ROOT / "pyproject.toml", LOCKED / "uv.txt"
    said = [path.read_bytes() for path in (project, *([locked, bootstrap] if locked else []))]
    wanted = hashlib.sha256(b"".join(said)).hexdigest()
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
    hashed = [f"--requirement={bootstrap}", "--require-hashes"] if locked else ["uv"]
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *hashed)
    uv, pip = environment / "bin" / "uv", ["pip", "install", "--quiet", "--compile-bytecode"]
    pip += [f"--python={python}"]
    hashed = [f"--constraint={locked}", "--require-hashes"] if locked else []
    chosen = [f"--group={project}:{group}" for group in ["build", *groups]]
    run(uv, *pip, *hashed, f"--requirement={project}", *chosen)
    run(uv, *pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    for stamp in stamps:
        stamp.write_text(wanted)


def lock(environment: Path) -> None:
    """Choose the packages anew, newest and lowest, and write down what the product is made of."""
    uv, project = environment / "bin" / "uv", ROOT / "pyproject.toml"
    choose = ["pip", "compile", "--quiet", "--upgrade", "--universal", "--generate-hashes"]
    choose += ["--no-annotate", "--no-header", "--no-emit-index-url"]

    def grouped(*groups: str) -> list[str]:
        return [str(project), *(f"--group={project}:{group}" for group in groups)]

    everything = {"build", "sbom", *(group for groups in GROUPS.values() for group in groups)}
    everything |= {group for groups in MARKED.values() for group in groups}
    for name, words in {
        "newest": grouped(*sorted(everything)),
        "lowest": [*grouped("build", "test"), "--resolution=lowest-direct"],
        **{tool: [str(LOCKED / f"{tool}.in")] for tool in TOOLS},
    }.items():
        print(f"choosing {name} …", flush=True)
        first = f"--python-version={TOOLS.get(name, '3.10')}"
        run(uv, *choose, *words, first, f"--output-file={LOCKED / name}.txt")
    product = ROOT / ".venv-product"
    run(uv, "venv", "--quiet", "--clear", f"--python={sys.executable}", str(product))
    python, newest = product / "bin" / "python", f"--constraint={LOCKED / 'newest.txt'}"
    run(uv, "pip", "install", "--quiet", f"--python={python}", newest, f"--requirement={project}")
    run(
        environment / "bin" / "cyclonedx-py",
        *("environment", f"--pyproject={project}", "--mc-type=library", "--output-reproducible"),
        *("--short-PURLs", f"--output-file={LOCKED / 'sbom.cdx.json'}", str(python)),
    )


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
