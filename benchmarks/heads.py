"""What looking up the heads of a thousand workspaces on one server costs.

    python -m benchmarks.heads [--workspaces 1000] [--rounds 5] [--report benchmarks/results]

`promotion.look_up_all` in a warm worker takes turns with as many `git ls-remote` processes, as
many of them at once. Times are of this machine and this hour; the ratios are what can be compared.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report, server, worker, worlds
from benchmarks.processes import ROOT, Cost, orderly_end, timed
from dataops_dagster import heads

AT_ONCE = getattr(heads, "_LOOKUPS", 8)
"""How many look-ups we make at once."""

_LS_REMOTE = """\
xargs -P "$AT_ONCE" -I URL git ls-remote URL refs/heads/main 'refs/tags/dataops/*' < urls > heads
"""
_NAMES = ("git ls-remote", "ours")


@dataclass
class Series:
    """What one contestant took, turn by turn."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    connections: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workspaces", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    introduction = _INTRODUCTION.format(
        count=given.workspaces, at_once=AT_ONCE, rounds=given.rounds, machine=report.machine()
    )
    with orderly_end(), tempfile.TemporaryDirectory(prefix="dataops-benchmark-") as scratch:
        folder = Path(scratch)
        names = [f"w{i:04}" for i in range(given.workspaces)]
        print(f"making {len(names)} repositories", flush=True)
        commit = _make(folder, names)
        with server.running(folder / "served") as running:
            _configure(folder, names, running.url)
            with worker.running(folder / "dataops.yaml") as ours:
                measured = _rounds(folder, ours, running, commit, given.rounds)
        _write(given.report, introduction, measured)


def _make(folder: Path, names: Sequence[str]) -> str:
    """Copy one small repository; in each copy a release stands under the workspace's own name."""
    world = worlds.make("deep", 0.0, folder)
    worlds.git(world.staging, "pack-refs", "--all")
    text = f"object {world.tip}\ntype commit\ntag release\n"
    stdin = f"{text}tagger Grace <grace@example.com> {world.end} +0000\n\nrelease\n".encode()
    tag = worlds.git(world.staging, "mktag", stdin=stdin)
    for name in names:
        made = folder / "served" / f"{name}.git"
        shutil.copytree(world.staging, made)
        (made / "packed-refs").write_text(
            "# pack-refs with: peeled fully-peeled sorted \n"
            f"{world.tip} refs/heads/main\n"
            f"{tag} refs/tags/dataops/bench/{name}/1\n^{world.tip}\n"
        )
    return world.tip


def _configure(folder: Path, names: Sequence[str], url: str) -> None:
    lines = ["project: bench", "protocols: [http]", "workspaces:"]
    lines += [f"  {n}: {{repository: '{url}/{n}.git', environment: e}}" for n in names]
    (folder / "dataops.yaml").write_text("\n".join(lines))
    (folder / "urls").write_text("".join(f"{url}/{name}.git\n" for name in names))


def _rounds(
    folder: Path, ours: worker.Worker, running: server.Running, commit: str, rounds: int
) -> dict[str, Series]:
    """Let both have their turns; the first round warms up and does not count."""
    measured = {name: Series() for name in _NAMES}
    for number in range(rounds + 1):
        for name in reversed(_NAMES) if number % 2 else _NAMES:
            before = running.counters()
            cost = _ours(ours, commit) if name == "ours" else _ls_remote(folder, commit)
            seen = running.counters() - before
            print(
                f"round {number}: {name} {cost.seconds:.2f} s, of processors {cost.cpu:.2f} s,"
                f" {seen.connections} connections",
                flush=True,
            )
            if number:
                measured[name].seconds.append(cost.seconds)
                measured[name].cpu.append(cost.cpu)
                measured[name].connections.append(seen.connections)
                measured[name].requests.append(seen.requests)
    return measured


def _ours(ours: worker.Worker, commit: str) -> Cost:
    cost, found = ours.heads()
    wrong = [name for name, (head, tag) in found.items() if head != commit or not tag]
    if wrong:
        raise AssertionError(f"looked up wrongly: {wrong[0]}: {found[wrong[0]]}")
    return cost


def _ls_remote(folder: Path, commit: str) -> Cost:
    env = {**worlds.PLAIN, "AT_ONCE": str(AT_ONCE)}
    cost = timed(["sh", "-c", _LS_REMOTE], cwd=folder, env=env)
    found = (folder / "heads").read_text().splitlines()
    urls = (folder / "urls").read_text().splitlines()
    # Branch, tag, and the commit that the tag points to.
    if found.count(f"{commit}\trefs/heads/main") != len(urls) or len(found) != 3 * len(urls):
        raise AssertionError("git ls-remote found other heads")
    return cost


_INTRODUCTION = """\
# What looking up {count} heads costs

`promotion.look_up_all` of a project of {count} workspaces, all on one server, in a warm worker;
beside it {count} `git ls-remote` processes, {at_once} at once. They took turns, rounds:
{rounds} after one to warm up. Medians, with the least and the most in brackets. Processor seconds are the
client's and its children's, not the server's, which ran on the same machine and works as much as
the clients do: seconds on the clock say more about it than about them.

Made by `python -m benchmarks.heads` on {machine}.
"""


def _write(folder: Path, introduction: str, measured: dict[str, Series]) -> None:
    rows = [
        (
            name,
            report.seconds(series.seconds),
            report.seconds(series.cpu),
            f"{statistics.median(series.connections):.0f}",
            f"{statistics.median(series.requests):.0f}",
        )
        for name, series in measured.items()
    ]
    ours, theirs = measured["ours"], measured["git ls-remote"]
    ratios = (report.ratio(ours.seconds, theirs.seconds), report.ratio(ours.cpu, theirs.cpu))
    rows.append(("ours / git ls-remote", *ratios, "", ""))
    page = report.write(
        folder,
        "heads",
        introduction,
        report.table(("", "seconds", "processor seconds", "connections", "requests"), rows),
    )
    print(page.read_text())


if __name__ == "__main__":
    main()
