"""What the configuration of every plug-in in every environment costs, against asking Meltano.

    python -m benchmarks.meltano [--plugins 50] [--sample 6] [--rounds 5] [--report benchmarks/results]

Ours is reading the project from a commit and resolving everything. Meltano's is one
`meltano config print` a plug-in and environment, of which a sample is run. The command is the one
that `DATAOPS_MELTANO` names, or is installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report, worlds
from benchmarks.processes import ROOT, orderly_end, timed
from dataops_dagster.committed import CommittedFiles
from dataops_dagster.demo import meltano
from dataops_dagster.git import Access
from dataops_dagster.meltano.model import Configuration
from dataops_dagster.meltano.project import load
from dataops_dagster.meltano.resolving import resolve_all
from dataops_dagster.store import Store

_ENVIRONMENTS = ("dev", "staging", "prod")


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plugins", type=int, default=50)
    parser.add_argument("--sample", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    introduction = _INTRODUCTION.format(
        plugins=given.plugins, environments=len(_ENVIRONMENTS), sample=given.sample,
        rounds=given.rounds, machine=report.machine(),
    )  # fmt: skip
    with orderly_end(), tempfile.TemporaryDirectory(prefix="dataops-benchmark-") as scratch:
        folder = Path(scratch) / "project"
        commit = _make(folder, given.plugins)
        store = Store(Path(scratch) / "cache", "bench")
        store.fetch(Access(f"file://{folder}", "workspaces.dev", ("file",)), "main", commit)
        count, ours = _ours(store, commit, given.rounds)
        theirs = _theirs(folder, Path(scratch), given.sample, given.plugins)
    _write(given.report, introduction, count, ours, theirs)


def _make(folder: Path, plugins: int) -> str:
    """Commit a project; returns the commit."""
    for name, content in _files(plugins).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    own, tree = folder / ".git", f"--work-tree={folder}"
    worlds.git(own, tree, "init", "--quiet", "--initial-branch=main")
    worlds.git(own, tree, "add", "--all")
    worlds.git(own, tree, "commit", "--quiet", "--message=project")
    return worlds.git(own, "rev-parse", "HEAD")


def _files(plugins: int) -> dict[str, str]:
    """Make a project: locked and inheriting extractors, overridden in each environment."""
    entries, overrides = list[Any](), list[Any]()
    files = {}
    for number in range(plugins):
        name = f"tap-{number}"
        config = {"domain": f"{number}.example.com", "page": {"size": number, "token": "$TOKEN"}}
        if number % 5:
            entries.append({"name": name, "variant": "v", "config": config, "select": ["*.*"]})
            files[f"plugins/extractors/{name}--v.lock"] = _lock(name)
        else:
            entries.append({"name": name, "inherit_from": f"tap-{number + 1}", "config": config})
        overrides.append({"name": name, "config": {"client_id": f"client-{number}"}})
    environments = [
        {"name": name, "config": {"plugins": {"extractors": overrides}}} for name in _ENVIRONMENTS
    ]
    content = {
        "project_id": "benchmark", "environments": environments, "plugins": {"extractors": entries}
    }  # fmt: skip
    return {"meltano.yml": json.dumps(content, indent=1), **files}


def _lock(name: str) -> str:
    settings = [{"name": f"setting_{n}", "kind": "integer", "value": n} for n in range(20)]
    definition = {
        "plugin_type": "extractors", "name": name, "namespace": name.replace("-", "_"),
        "variant": "v", "settings": settings,
    }  # fmt: skip
    return json.dumps(definition, indent=2)


def _ours(store: Store, commit: str, rounds: int) -> tuple[int, list[float]]:
    """Return how many configurations there are, and the processor seconds that each round took."""

    def resolved() -> list[Configuration]:
        project = load(CommittedFiles(store, commit))
        return list(resolve_all(project, _ENVIRONMENTS))

    found = resolved()
    wrong = next((c.failure for c in found if c.failure or len(c.settings) < 20), None)  # noqa: PLR2004  # a lock's
    if wrong is not None:
        raise AssertionError(f"not resolved: {wrong}")
    return len(found), [_cpu(resolved) for _ in range(rounds)]


def _cpu(work: Callable[[], object]) -> float:
    """Return the processor seconds of some work, its children's among them."""

    def spent() -> float:
        used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before = spent()
    work()
    return spent() - before


def _theirs(folder: Path, scratch: Path, sample: int, plugins: int) -> list[float]:
    """Return what single calls of the command took; the first one warms up and does not count."""
    command = meltano.command(print)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(scratch),
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
        "MELTANO_SYS_DIR_ROOT": str(scratch / "system"),
        "MELTANO_PROJECT_READONLY": "true",
    }
    calls = []
    for number in range(sample + 1):
        arguments = [
            command, f"--environment={_ENVIRONMENTS[number % len(_ENVIRONMENTS)]}",
            "config", "print", f"tap-{number * 7 % plugins}",
        ]  # fmt: skip
        calls.append(timed(arguments, cwd=folder, env=env).cpu)
        print(f"call {number}: {calls[-1]:.2f} s of processors", flush=True)
    return calls[1:]


_INTRODUCTION = """\
# What the configuration of {plugins} plug-ins in {environments} environments costs

Ours reads the project from a commit in a bare repository, git's own processes included, and
resolves every setting of every plug-in in every environment. Meltano has no command for all of it: it
is asked by one `meltano config print` for each plug-in and environment. {sample} such calls were run, after
one to warm up; their median stands for all. Ours was run {rounds} times. Processor seconds: medians,
with the least and the most in brackets.

Made by `python -m benchmarks.meltano` on {machine}.
"""


def _write(
    folder: Path, introduction: str, count: int, ours: Sequence[float], theirs: Sequence[float]
) -> None:
    every = count * statistics.median(theirs)
    ratio = every / statistics.median(ours)
    rows = [
        ("meltano, one configuration", report.seconds(theirs)),
        (f"meltano, {count} configurations", report.figure(every)),
        (f"ours, {count} configurations", report.seconds(ours)),
        ("meltano / ours", report.figure(ratio)),
    ]
    page = report.write(
        folder, "meltano", introduction, report.table(("", "processor seconds"), rows)
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
