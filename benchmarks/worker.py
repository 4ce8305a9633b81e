"""A warm worker, as Dagster's is: one job a line on standard input, one answer a line.

    python -m benchmarks.worker DATAOPS_YAML

Everything is imported and the project is read before the first job. What is timed is the call of
the public function and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.processes import Cost, child
from benchmarks.usage import processor_seconds
from dataops_dagster import config, promotion
from dataops_dagster.heads import Head, look_up_all
from dataops_dagster.model import Evidence
from dataops_dagster.settings import Project
from dataops_dagster.store import Store


class Worker:
    """A worker process, as the benchmark sees it."""

    def __init__(self, pid: int, ask: Callable[[Mapping[str, Any]], Any]) -> None:
        """Take its id and what hands one job over and returns the answer."""
        self.pid = pid
        self._ask = ask

    def promote(self, cache: Path, expected: str) -> Cost:
        """Promote into prod with this cache; raises unless the answer is of the `expected` type."""
        answer = self._ask({"do": "promote", "cache": str(cache)})
        if answer["answer"] != expected:
            raise AssertionError(f"ours answered {answer['answer']}: {answer['detail']}")
        return Cost(answer["seconds"], answer["cpu"])

    def heads(self) -> tuple[Cost, dict[str, list[str | None]]]:
        """Look up all heads; returns each workspace's commit and release."""
        answer = self._ask({"do": "heads"})
        return Cost(answer["seconds"], answer["cpu"]), answer["detail"]


@contextlib.contextmanager
def running(configuration: Path) -> Iterator[Worker]:
    """Keep a worker for a project as long as the block lasts."""
    with child("benchmarks.worker", str(configuration)) as process:
        assert process.stdin
        assert process.stdout
        to, from_ = process.stdin, process.stdout

        def ask(job: Mapping[str, Any]) -> Any:
            to.write(json.dumps(job) + "\n")
            to.flush()
            if not (line := from_.readline()):
                raise RuntimeError("the worker ended")
            return json.loads(line)

        ask({"do": "nothing"})  # whoever answers has imported everything
        yield Worker(process.pid, ask)


class _NoBook:
    """Evidence of nothing: no gate asks for it."""

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Find nothing."""
        del project, workspace, environment, commits
        return ()


def _promote(project: Project, job: Mapping[str, Any]) -> tuple[str, Any]:
    answer = promotion.promote(
        project,
        project.workspaces["prod"],
        store=Store(Path(job["cache"]), project.name),
        book=_NoBook(),
        now=datetime.now(timezone.utc),
    )
    return type(answer).__name__, answer


def _heads(project: Project, _: Mapping[str, Any]) -> tuple[str, Any]:
    return "heads", look_up_all(project)


def _plain(answer: Any) -> Any:
    """Turn an answer into what a line can hold; a failed look-up is said as it is."""
    if not isinstance(answer, Mapping):
        return str(answer)
    return {
        name: [head.commit, head.release] if isinstance(head, Head) else [str(head), None]
        for name, head in answer.items()
    }


def main() -> None:
    """Answer jobs until standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    project = config.load(Path(sys.argv[1]))
    kinds = {"promote": _promote, "heads": _heads, "nothing": lambda *_: ("nothing", "")}
    for line in sys.stdin:
        job = json.loads(line)
        cpu, start = processor_seconds(), time.perf_counter()
        answer, detail = kinds[job["do"]](project, job)
        seconds, cpu = time.perf_counter() - start, processor_seconds() - cpu
        said = {"seconds": seconds, "cpu": cpu, "answer": answer, "detail": _plain(detail)}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
