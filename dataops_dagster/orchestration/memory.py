"""What a look need not ask Dagster's instance again: nothing that concerns it has happened there since.

Only saves work: what is remembered is what was read there, and it is forgotten as soon as a run may have
changed it, and by and by in any case. A process begins with none.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from dataops_dagster import clock
from dataops_dagster.orchestration import naming
from dataops_dagster.settings import Project

LOOKS = 50
"""Within so many looks all is asked again once, whatever runs say: people can report events by hand."""

_SKEW = timedelta(minutes=1)
"""How far the clocks of machines may be apart that tell Dagster of a run."""

_RUNS = 1000


class Memory:
    """What was read of each workspace of one project."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._kept: dict[str, Any] = {}
        self._newest: tuple[str, datetime] | None = None
        """The run of which the instance heard last, and when."""
        self._seen: set[tuple[str, datetime]] = set()

    def refresh(self, instance: dg.DagsterInstance) -> None:
        """Forget what runs may have changed since the last look."""
        if self._newest and clock.now() < self._newest[1] - _SKEW:
            self._newest = None  # a clock was put back: what is new may look old
        runs = self._news(instance)
        heard = {(r.dagster_run.run_id, r.update_timestamp): r.dagster_run for r in runs}
        if self._newest not in heard or len(runs) == _RUNS:
            self._kept.clear()  # nobody knows what is missing; or it is another instance
        for key in heard.keys() - self._seen:
            self._forget_all(self._touched(heard[key]))
        self._seen = set(heard)
        self._newest = max(heard, key=lambda key: key[1], default=None)
        # A few each time: else one look would pay for all.
        self._forget_all(list(self._kept)[: -(-len(self._kept) // LOOKS)])

    def recall(self, name: str) -> Any:
        """Return what was read of a workspace, or None."""
        return self._kept.get(name)

    def keep(self, name: str, read: Any) -> None:
        """Remember what was read of a workspace; without any run there is nothing to go by."""
        if self._newest:
            self._kept[name] = read

    def forget(self, name: str) -> None:
        """Ask again for a workspace."""
        self._kept.pop(name, None)

    def _news(self, instance: dg.DagsterInstance) -> list[dg.RunRecord]:
        """Return the runs of which something was heard lately, with the one that was heard of last."""
        if self._newest is None:
            return list(instance.get_run_records(limit=1))
        since = dg.RunsFilter(updated_after=self._newest[1] - _SKEW)
        return list(instance.get_run_records(since, limit=_RUNS))

    def _touched(self, run: dg.DagsterRun) -> set[str]:
        """Return the workspaces that a run may tell something new of."""
        project = self._project
        checks = run.asset_check_selection or ()
        keys = [*(run.asset_selection or ()), *(check.asset_key for check in checks)]
        names = {key.path[1] for key in keys if key.path[0] == project.name and len(key.path) > 1}
        names |= {
            tag.rpartition(".")[2]
            for tag in run.tags
            if tag.startswith("dataops.") and f"/{project.name}." in tag
        }
        if not keys and run.job_name in naming.jobs(project.name):
            return set(project.workspaces)
        known = [project.workspaces[name] for name in names if name in project.workspaces]
        beside = [n for w in known for n in (*w.upstream, *(t.name for t in project.targets_of(w)))]
        return names | set(beside)

    def _forget_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.forget(name)
