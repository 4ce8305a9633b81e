"""Processes that promote into one target at once: daemons with a real Dagster instance, and workers.

Each does one piece of work a round, all of them at the same time: see `Crew`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

TARGET = "staging"


@dataclass
class Member:
    """One process of a crew, as seen from outside."""

    name: str
    process: subprocess.Popen[str]

    def begin(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def ended(self) -> list[str]:
        """Wait for the end of the round; returns the outcomes of all attempts."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"{self.name} ended with {self.process.wait()}"
        return list(json.loads(line))


@dataclass
class Crew:
    """Processes that all go to work when they are told to."""

    members: list[Member] = field(default_factory=list)

    def begin(self) -> None:
        for member in self.members:
            member.begin()

    def ended(self) -> dict[str, list[str]]:
        return {member.name: member.ended() for member in self.members}


@contextmanager
def crew(config: Path, machines: Mapping[str, Path], log: Path) -> Iterator[Crew]:
    """Start a process for each name, with the folder that stands for its machine.

    What is called daemon evaluates the project's sensors and runs what they ask for; all else promotes
    as the command line does.
    """
    with ExitStack() as stack:
        made = Crew()
        for name, machine in machines.items():
            env = {
                **os.environ,
                "DATAOPS_CONFIG": str(config),
                "DATAOPS_CACHE_DIR": str(machine / "cache"),
                "DAGSTER_HOME": str(config.parent / "dagster"),
            }
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.racing", name],
                    env=env,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(log.open("a")),
                    text=True,
                )
            )
            stack.callback(process.kill)
            made.members.append(Member(name, process))
        for member in made.members:
            assert member.ended() == ["ready"]
        yield made
        for member in made.members:
            assert member.process.stdin
            member.process.stdin.close()
            assert member.process.wait(60) == 0


# --- in such a process ----------------------------------------------------------------------------


class Worker:
    """Promotes into the target, as the command line does."""

    def __init__(self) -> None:
        from dataops_dagster import config
        from dataops_dagster.store import store_of
        from tests.conftest import Book

        self.project = config.load(Path(os.environ["DATAOPS_CONFIG"]))
        self.store, self.book = store_of(self.project), Book()

    def work(self) -> list[str]:
        from dataops_dagster import promotion
        from dataops_dagster.errors import DataOpsError

        try:
            answer = promotion.promote(
                self.project,
                self.project.workspaces[TARGET],
                store=self.store,
                book=self.book,
                now=datetime.now(timezone.utc),
            )
        except DataOpsError as error:
            return [f"{type(error).__name__}: {error}"]
        return [type(answer).__name__]


class Daemon:
    """Evaluates the project's sensors, and runs what they ask for: each run key once, as Dagster does.

    Like Dagster it looks a key up and then launches: two of them may both find nothing.
    """

    def __init__(self) -> None:
        import dagster as dg

        from tests.conftest import shop_at
        from tests.dagster_shop import DagsterShop

        root = Path(os.environ["DATAOPS_CONFIG"]).parent
        self.shop = DagsterShop(shop_at(root), dg.DagsterInstance.get())

    def work(self) -> list[str]:
        import dagster as dg

        self.shop.tick("heads_shop")
        outcomes = []
        for request in self.shop.tick("gates_shop").run_requests or []:
            known = dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})
            if self.shop.instance.get_runs(known, limit=1):
                continue
            keyed = request.with_replaced_attrs(
                tags={**request.tags, "dagster/run_key": str(request.run_key)}
            )
            done = self.shop.launch(keyed)
            run = self.shop.instance.get_run_by_id(done.run_id)
            assert run
            outcomes.append(run.status.value)
        return outcomes


def main(name: str) -> None:
    """Work once for each line of standard input; answers with a line."""
    answers, sys.stdout = sys.stdout, sys.stderr
    member = Daemon() if name.startswith("daemon") else Worker()
    print(json.dumps(["ready"]), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(member.work()), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
