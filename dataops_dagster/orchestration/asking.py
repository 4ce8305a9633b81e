"""Ask Dagster for a run: not while one like it is under way, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TypeAlias

import dagster as dg

from dataops_dagster.orchestration import naming, records

ATTEMPTS = 3
"""How many runs of ours may end without an answer before a person has to look."""

PAUSE = timedelta(minutes=1)
"""How long nothing is asked for after a run that was refused, which counts as no attempt."""

PROMOTION = timedelta(minutes=30)
"""What a promotion may take; the first one fetches whole repositories."""

MARGIN = timedelta(minutes=5)
"""What a run may take beyond its step's deadline: starting, fetching, pushing."""


@dataclass(frozen=True)
class Wait:
    """Why nothing is asked for; `under_way` when that is because it is happening already.

    `settled` when it stays so as long as the heads stay and no run tells anything new.
    """

    reason: str
    under_way: bool = False
    settled: bool = False


Decision: TypeAlias = dg.RunRequest | Wait

NOT_THERE = Wait("its branch is not there yet")


@dataclass
class Asking:
    """What runs there are, at one moment."""

    instance: dg.DagsterInstance
    now: datetime

    def ask(
        self,
        tag: tuple[str, str],
        *,
        key: str,
        what: str,
        limit: timedelta,
        request: Callable[..., dg.RunRequest],
        answered: Callable[[dg.DagsterRun], str] = lambda _: "",
        told: Collection[str] = (),
    ) -> Decision:
        """Ask for a run unless one is under way, was answered, or enough ended without an answer.

        `told` are runs that answered, and that more of are wanted. One that was refused counts as
        none, but a pause follows.
        """
        if busy := self.busy(tag, what, limit):
            return busy
        found = self.instance.get_run_records(
            dg.RunsFilter(tags={tag[0]: tag[1]}), limit=ATTEMPTS * 10
        )
        runs = [record.dagster_run for record in found]
        # One that is not finished died with its machine: none is at work.
        ended = [run for run in runs if run.run_id not in told and not _was_refused(run)]
        if reason := _settled(ended, what, answered) or self._paused(found, what):
            return Wait(reason)
        # The key names what went before: Dagster never launches a second run for one key.
        return request(
            run_key=f"{key} after {runs[0].run_id}" if runs else key,
            tags={tag[0]: tag[1], "dagster/max_runtime": str(int(limit.total_seconds()))},
        )

    def _paused(self, found: Sequence[dg.RunRecord], what: str) -> str:
        """Say that the newest run was refused a moment ago; else nothing."""
        for record in found[:1]:
            run = record.dagster_run
            # Either way: a clock that was put back would make a pause of what it was put back by.
            if _was_refused(run) and abs(self.now - record.update_timestamp) < PAUSE:
                return (
                    f"{what} was refused, run {run.run_id}, as another is at work on the same;"
                    " it is asked for again a minute later"
                )
        return ""

    def busy(self, tag: tuple[str, str], what: str, limit: timedelta) -> Wait | None:
        """Say what is under way: one at a time for each workspace.

        Two runs would share the state of their loads, two deployments a platform.
        """
        for record in self._unfinished:
            run = record.dagster_run
            if tag[0] in run.tags and self._is_alive(record, limit):
                same = run.tags[tag[0]] == tag[1]
                told = what if same else "another like it"
                return Wait(f"{told} is under way, run {run.run_id}", under_way=True)
        return None

    @cached_property
    def _unfinished(self) -> Sequence[dg.RunRecord]:
        return records.unfinished(self.instance)

    def _is_alive(self, record: dg.RunRecord, limit: timedelta) -> bool:
        """Say whether to wait for a run: its worker may have died with its machine."""
        if record.dagster_run.status is dg.DagsterRunStatus.QUEUED:
            return True
        begun = (
            datetime.fromtimestamp(record.start_time, timezone.utc)
            if record.start_time
            else record.update_timestamp
        )
        return self.now - begun < limit + MARGIN


def note_refusal(instance: dg.DagsterInstance, run_id: str, by: str | None) -> None:
    """Mark a run that was refused `by` somebody, so that it does not count as an attempt."""
    if by is not None:
        instance.add_run_tags(run_id, {naming.REFUSED_TAG: run_id})


def _was_refused(run: dg.DagsterRun) -> bool:
    return run.tags.get(naming.REFUSED_TAG) == run.run_id


def _settled(
    ended: Sequence[dg.DagsterRun], what: str, answered: Callable[[dg.DagsterRun], str]
) -> str:
    """Say why ended runs, newest first, mean that no further one is asked for; else nothing."""
    for run in ended:
        if run.status is dg.DagsterRunStatus.CANCELED:
            return f"{what} was canceled, run {run.run_id}; it waits for a person"
        if answer := answered(run):
            return f"{what} {answer}, run {run.run_id}; it waits for another commit or a person"
    if len(ended) >= ATTEMPTS:
        return f"{what} did not succeed in {len(ended)} runs, last {ended[0].run_id}"
    return ""
