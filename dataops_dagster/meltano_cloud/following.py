"""Follows a job of Meltano Cloud to its end, and hands on its log; starts and stops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

from dataops_dagster import process
from dataops_dagster.errors import ToolError
from dataops_dagster.meltano_cloud.api import Api
from dataops_dagster.meltano_cloud.model import FAILED, READY, CloudWorkspace, Job

POLL_SECONDS = 2.0
_LAST_READS_SECONDS = 30.0
"""How long more of a log is asked for once its job has ended."""


def follow(api: Api, job: Job, *, seconds: float, on_line: Callable[[str], None]) -> Job:
    """Look at a job until it has ended, or `seconds` have passed; returns what was seen last.

    A server that is out of order is asked again until then. Raises `ToolError` if it still is.
    """
    tail = _Tail(api, job.id, on_line)
    end = time.monotonic() + seconds
    while True:
        job, trouble = _look(api, job)
        if job.outcome is not None or time.monotonic() >= end:
            break
        tail.read()
        _pause(end)
    if trouble:
        raise trouble
    tail.read_the_rest()
    return job


def _look(api: Api, job: Job) -> tuple[Job, ToolError | None]:
    try:
        return api.job(job.id), None
    except ToolError as error:
        if error.retryable:
            return job, error
        raise


def wait(api: Api, cloud: CloudWorkspace, *, seconds: float) -> CloudWorkspace:
    """Look at a workspace until it is ready, or failed, or `seconds` have passed."""
    end = time.monotonic() + seconds
    while cloud.status not in (READY, FAILED) and time.monotonic() < end:
        _pause(end)
        cloud = api.workspace(cloud.id)
    return cloud


def _pause(end: float) -> None:
    time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))


class _Tail:
    """Hands on what a job's log has new; a log that cannot be read spoils nothing."""

    def __init__(self, api: Api, job: str, on_line: Callable[[str], None]) -> None:
        self.api, self.job, self.on_line = api, job, on_line
        self.sequence = 0
        self.trouble: ToolError | None = None

    def read(self) -> None:
        """Hand on the lines that are whole."""
        whole, _ = self._split()
        self._hand_on(whole)

    def read_the_rest(self) -> None:
        """Hand on everything, also a last line that is not ended."""
        end = time.monotonic() + _LAST_READS_SECONDS
        while time.monotonic() < end:
            whole, rest = self._split()
            lines = [*whole, rest] if rest else whole
            self._hand_on(lines)
            if not lines:
                break
        if self.trouble:
            self.on_line(f"the job's log could not be read: {self.trouble.tail}")

    def _split(self) -> tuple[list[str], str]:
        if self.trouble and not self.trouble.retryable:
            return [], ""
        try:
            *whole, rest = self.api.log(self.job, self.sequence).split("\n")
        except ToolError as error:
            self.trouble = error
            return [], ""
        self.trouble = None
        return whole, rest

    def _hand_on(self, lines: list[str]) -> None:
        self.sequence += len(lines)
        for line in lines:
            self.on_line(self.api.clean(line)[: process.LINE_LIMIT_BYTES])
