"""The command: sweeps all cases, or some, shows progress and a table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.sweep.cases import CASES
from tests.sweep.nursery import Nursery
from tests.sweep.sweep import CALLS, PUSHES, WRITES, Strike, Tally, sample, sweep
from tests.sweep.tools import TOOL_CASES

ALL = (*CASES, *TOOL_CASES)
MODES = (*CALLS, *WRITES, *PUSHES)


def main(arguments: Sequence[str]) -> int:
    """Sweep; returns 1 when a promise was broken, or a moment was not found again too often."""
    given = _parsed(arguments)
    console = Console(stderr=True, highlight=False)
    tallies, begun = [], time.monotonic()
    with Nursery() as nursery, tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        for case in ALL:
            if given.case and case.name not in given.case:
                continue
            tallies.append(
                sweep(
                    case,
                    Path(folder).resolve() / "world",
                    nursery,
                    choose=_chosen(given),
                    on_strike=_teller(console, case.name),
                )
            )
    seconds = time.monotonic() - begun
    if given.json:
        print(json.dumps(_data(tallies, seconds), indent=2))
    else:
        _show(Console(highlight=False), tallies, seconds)
    return 1 if any(tally.violations for tally in tallies) else 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.sweep", description=__doc__)
    parser.add_argument("--case", action="append", choices=[case.name for case in ALL])
    parser.add_argument("--mode", action="append", choices=MODES)
    parser.add_argument("--sample", type=int, metavar="N", help="so many moments of each case only")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args(arguments)


def _chosen(given: argparse.Namespace) -> Callable[[Sequence[Strike]], Sequence[Strike]]:
    modes = given.mode or MODES

    def choose(strikes: Sequence[Strike]) -> Sequence[Strike]:
        found = [strike for strike in strikes if strike.mode in modes]
        return sample(found, given.sample) if given.sample else found

    return choose


def _teller(console: Console, case: str) -> Callable[[int, int, Strike, Sequence[str]], None]:
    def tell(number: int, total: int, strike: Strike, found: Sequence[str]) -> None:
        for what in found:
            console.print(f"{case}, {strike}: {what}", style="red", markup=False)
        if found or number == total or number % 25 == 0:
            console.print(f"{case}: {number} of {total}", style="dim")

    return tell


def _show(console: Console, tallies: Sequence[Tally], seconds: float) -> None:
    table = Table("strike", *(tally.case for tally in tallies), "all")
    for mode in MODES:
        pairs = [(tally.tried[mode], tally.broken(mode)) for tally in tallies]
        total = [sum(column) for column in zip(*pairs, strict=True)]
        table.add_row(mode, *(_cell(*pair) for pair in (*pairs, total)))
    console.print(table)
    tried = sum(tally.tried.total() for tally in tallies)
    missed = sum(tally.missed.total() for tally in tallies)
    broken = sum(tally.broken(mode) for tally in tallies for mode in MODES)
    console.print(
        f"{tried} attempts, {broken} with a broken promise, {missed} whose moment did not come"
        f" again; {seconds:.0f} s"
    )


def _cell(tried: int, broken: int) -> str:
    return f"{tried}, {broken} broken" if broken else str(tried or "")


def _data(tallies: Sequence[Tally], seconds: float) -> dict[str, object]:
    return {
        "seconds": round(seconds),
        "cases": [
            {
                "case": tally.case,
                "tried": dict(tally.tried),
                "missed": dict(tally.missed),
                "violations": [
                    {"strike": str(strike), "broken": what} for strike, what in tally.violations
                ],
            }
            for tally in tallies
        ],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
