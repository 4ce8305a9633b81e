"""What promoting a small change costs: by hand, by the fewest git commands, and by us.

    python -m benchmarks.promotion [--rounds 5] [--worlds wide,deep,large]
        [--transports file,http] [--scale 1.0] [--cache FOLDER] [--report benchmarks/results]

All take turns in one run, each with a fresh commit on the upstream and the target where it was.
Times are of this machine and this hour; the ratios are what can be compared.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report, server, usage, worker, worlds
from benchmarks.contestants import IDLING, PROMOTING, Contestant, Track
from benchmarks.processes import ROOT, Cost, orderly_end

TRANSPORTS = ("file", "http")
QUICK = 3
"""How often those that take no clone have their turn in a round."""

_QUICK_NAMES = ("bare limit", "ours")


@dataclass
class Series:
    """What one contestant took, turn by turn."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)

    def add(self, cost: Cost, sent: int) -> None:
        """Keep one turn."""
        self.seconds.append(cost.seconds)
        self.cpu.append(cost.cpu)
        self.sent.append(sent)


@dataclass
class Extent:
    """What one promotion of ours took beside time."""

    cost: Cost
    sent: int
    peak: usage.Peak


@dataclass
class Outcome:
    """All that was measured of one world behind one transport."""

    world: worlds.World
    transport: str
    promoting: Mapping[str, Series]
    idling: Mapping[str, Series]
    first: Extent
    warm: Extent

    @property
    def title(self) -> tuple[str, str]:
        """The first columns of every table."""
        return f"{self.world.name}: {self.world.says}", self.transport


def main() -> None:
    """Measure, and write the page and its chart."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worlds", default=",".join(worlds.NAMES))
    parser.add_argument("--transports", default=",".join(TRANSPORTS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--cache", type=Path, help="keeps the generated repositories here")
    parser.add_argument("--report", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    introduction = _INTRODUCTION.format(rounds=given.rounds, quick=QUICK, machine=report.machine())
    with orderly_end(), contextlib.ExitStack() as stack:
        if given.cache:
            given.cache.mkdir(parents=True, exist_ok=True)
        cache = given.cache.absolute() if given.cache else _scratch(stack, None)
        # Beside the cached worlds: only within one file system can their packs be shared.
        scratch = _scratch(stack, cache)
        outcomes = []
        for name in given.worlds.split(","):
            print(f"{name}: making its repositories, unless they are there", flush=True)
            world = worlds.make(name, given.scale, cache)
            for transport in given.transports.split(","):
                folder = scratch / f"{name}-{transport}"
                outcomes.append(_measure(world, transport, given.rounds, folder))
                _write(given.report, introduction, outcomes)
        print((given.report / "promotion.md").read_text())


def _scratch(stack: contextlib.ExitStack, folder: Path | None) -> Path:
    made = tempfile.TemporaryDirectory(
        dir=folder, prefix="dataops-benchmark-", ignore_cleanup_errors=True
    )
    return Path(stack.enter_context(made))


def _measure(world: worlds.World, transport: str, rounds: int, folder: Path) -> Outcome:
    served = world.copy(folder / "served")
    http = transport == "http"
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(server.running(served.folder)) if http else None
        base = running.url if running else f"file://{served.folder}"
        track = Track(
            world=served,
            folder=folder / "track",
            staging=f"{base}/staging.git",
            prod=f"{base}/prod.git",
            server=running,
        )
        track.prepare()
        print(f"{world.name}, {transport}: first promotion", flush=True)
        first = _extent(track)
        warm = max((_extent(track) for _ in range(3)), key=lambda e: e.peak.resident)
        track.ours = stack.enter_context(worker.running(track.configuration))
        promoting = _rounds(track, PROMOTING, rounds, "promotion")
        idling = _rounds(track, IDLING, rounds, "nothing to do")
        return Outcome(world, transport, promoting, idling, first, warm)


def _extent(track: Track) -> Extent:
    """Promote once in a worker of its own, and watch its memory."""
    change = track.change()
    with worker.running(track.configuration) as ours:
        before = _sent(track)
        with usage.peak(ours.pid) as peak:
            cost = ours.promote(track.cache, "Promoted")
        sent = _sent(track) - before
    track.world.check(change)
    return Extent(cost, sent, peak)


def _rounds(
    track: Track, contestants: Mapping[str, Contestant], rounds: int, what: str
) -> Mapping[str, Series]:
    """Let all have their turns; the first round warms up and does not count."""
    measured: dict[str, Series] = defaultdict(Series)
    for number in range(rounds + 1):
        medians = defaultdict(list)
        for name in _order(list(contestants), number):
            cost, sent = _turn(track, contestants[name], fresh=contestants is PROMOTING)
            medians[name].append(cost.seconds)
            if number:
                measured[name].add(cost, sent)
        figures = (f"{n} {statistics.median(t) * 1000:.0f} ms" for n, t in medians.items())
        where = f"{track.world.name}, {'http' if track.server else 'file'}"
        print(f"{where}, {what}, round {number}: {', '.join(figures)}", flush=True)
    return measured


def _order(names: Sequence[str], number: int) -> Iterator[str]:
    """Yield whose turn it is; who comes after whom changes from round to round."""
    start = number % len(names)
    yield from (*names[start:], *names[:start])
    for again in range(QUICK - 1):
        yield from reversed(_QUICK_NAMES) if (number + again) % 2 else _QUICK_NAMES


def _turn(track: Track, contestant: Contestant, *, fresh: bool) -> tuple[Cost, int]:
    """Make the situation, and let one contestant answer it."""
    if fresh:
        change = track.change()
    else:
        track.world.reset()
    os.sync()  # what the last one wrote is not for this one to wait for
    before = _sent(track)
    cost = contestant(track)
    sent = _sent(track) - before
    if fresh:
        track.world.check(change)
    return cost, sent


def _sent(track: Track) -> int:
    return track.server.counters().sent if track.server else 0


# --- the page -------------------------------------------------------------------------------------

_INTRODUCTION = """\
# What promoting a small change costs

One small file was edited in staging; production has a file of its own, so this is a true merge.
Each repository is promoted to as one person would by hand (a full clone, `git pull -X theirs`,
push), by the fewest git commands on a warm bare cache, and by `promotion.promote` in a warm worker.
The fewest commands publish the merge, after one `git log` and one `git diff-tree` told what it brings:
we compute that plan too before anything is published.
All took turns, rounds: {rounds} after one to warm up; by hand and `dataops promote` once a round,
the others {quick} times. Medians, with the least and the most in brackets.

Made by `python -m benchmarks.promotion` on {machine}.
The server ran on the same machine; with file:// it is a child of the client, so its processor time
and memory are counted, too.
"""

_MEMORY = """\
The worker and all its children together, sampled every few milliseconds while it promotes: the sum
of their resident sets (a shared page counts once for each), and of their proportional sets (it
counts once). Nothing is subtracted; mapped files count. Of three warm promotions the largest.
"""


def _write(folder: Path, introduction: str, outcomes: Sequence[Outcome]) -> None:
    parts = [
        introduction,
        "## A small change, seconds\n",
        "![By hand, bare limit and ours on a logarithmic scale](promotion.svg)\n",
        _times([(o.title, o.promoting) for o in outcomes]),
        "`dataops promote` is the command line as a process from nothing: Python's start included.",
        "\n## A small change, processor seconds\n",
        _processors(outcomes),
        "## Nothing to do, seconds\n",
        "The bare limit is one `git ls-remote` a side, both at once.\n",
        _times([(o.title, o.idling) for o in outcomes]),
        "## Bytes fetched\n",
        "The bodies of all answers of the server, in one promotion over HTTP.\n",
        _bytes([o for o in outcomes if o.transport == "http"]),
        "## Peak memory of ours\n",
        _MEMORY,
        _memory(outcomes),
    ]
    report.write(folder, "promotion", *parts)
    groups = {
        f"{o.world.name}, {o.transport}": {
            name: statistics.median(o.promoting[name].seconds)
            for name in ("by hand", "bare limit", "ours")
        }
        for o in outcomes
    }
    report.chart(folder / "promotion.svg", "Promoting a small change", "s", groups)


def _times(found: Sequence[tuple[tuple[str, str], Mapping[str, Series]]]) -> str:
    names = [name for name in PROMOTING if name in found[0][1]]
    return report.table(
        ("world", "transport", *names, "ours / bare limit", "by hand / ours"),
        [
            (
                *title,
                *(report.seconds(measured[name].seconds) for name in names),
                report.ratio(measured["ours"].seconds, measured["bare limit"].seconds),
                report.ratio(measured["by hand"].seconds, measured["ours"].seconds),
            )
            for title, measured in found
        ],
    )


def _processors(outcomes: Sequence[Outcome]) -> str:
    names = list(PROMOTING)
    rows = [
        (*o.title, *(report.seconds(o.promoting[name].cpu) for name in names)) for o in outcomes
    ]
    return report.table(("world", "transport", *names), rows)


def _bytes(outcomes: Sequence[Outcome]) -> str:
    return report.table(
        ("world", "repository", "by hand", "ours, first time", "ours, warm", "bare limit, warm"),
        [
            (
                o.title[0],
                report.size(o.world.size),
                report.size(statistics.median(o.promoting["by hand"].sent)),
                report.size(o.first.sent),
                *(
                    report.size(statistics.median(o.promoting[name].sent))
                    for name in ("ours", "bare limit")
                ),
            )
            for o in outcomes
        ],
    )


def _memory(outcomes: Sequence[Outcome]) -> str:
    if not usage.measurable():
        return "This system does not tell.\n"
    columns = ("seconds", "resident", "proportional")
    header = [f"{when}: {column}" for when in ("first time", "warm") for column in columns]
    rows = [(*o.title, *_extent_columns(o.first), *_extent_columns(o.warm)) for o in outcomes]
    return report.table(("world", "transport", *header), rows)


def _extent_columns(extent: Extent) -> tuple[str, str, str]:
    peak = extent.peak
    seconds = report.figure(extent.cost.seconds)
    return seconds, report.size(peak.resident), report.size(peak.proportional)


if __name__ == "__main__":
    main()
