"""Dagster's instance for programs that run outside Dagster, such as the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import dagster as dg
from yaml import YAMLError

from dataops_dagster import clock
from dataops_dagster.errors import ConfigError
from dataops_dagster.heads import look_up_all
from dataops_dagster.model import Decision, Evidence
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.decisions import decide_job
from dataops_dagster.orchestration.records import InstanceBook, deployed
from dataops_dagster.orchestration.requests import Due, Observer
from dataops_dagster.settings import Project
from dataops_dagster.store import store_of


class HomeInstance:
    """The instance that DAGSTER_HOME names, opened when it is first asked."""

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The instance; raises `ConfigError` when there is none."""
        home = Path(os.environ.get("DAGSTER_HOME", ""))
        if not home.is_absolute() or not home.is_dir():
            raise ConfigError.at(
                "DAGSTER_HOME",
                "is not set to an absolute path of a folder, so evidence cannot be looked up",
                "set it to the folder that Dagster's daemon and webserver use",
            )
        try:
            return dg.DagsterInstance.get()
        except (dg.DagsterError, YAMLError, OSError) as error:
            raise ConfigError.at(
                str(home / "dagster.yaml"),
                f"Dagster cannot use this instance: {str(error).strip().splitlines()[0][:300]}",
                "mend dagster.yaml, or set DAGSTER_HOME to another folder",
            ) from None

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return evidence, as `InstanceBook` does."""
        return InstanceBook(self.instance).find(project, workspace, environment, commits)

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return what the user's own jobs say, as `InstanceBook` does."""
        return InstanceBook(self.instance).job_runs(project, workspace, environment, jobs)

    def decisions(self, project: str, target: str) -> Sequence[Decision]:
        """Return what was decided, as `InstanceBook` does."""
        return InstanceBook(self.instance).decisions(project, target)

    def decide(self, project: Project, given: Mapping[str, str]) -> None:
        """Record a decision by a run of the job that people may also launch in Dagster.

        Raises `ConfigError` for what the job refuses.
        """
        run_config = {
            "ops": {naming.decide_op(project.name): {"config": dict(given)}},
            # What it has to say is said by us; Dagster's log of it is in the instance.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        try:
            decide_job(project).execute_in_process(run_config, instance=self.instance)
        except dg.Failure as failure:
            problem, _, hint = str(failure.description).partition("\n  hint: ")
            where, _, what = problem.partition(": ")
            raise ConfigError.at(where, what, hint) from None

    def deployed(self, project: str, workspace: str) -> str | None:
        """Return the commit that a workspace's platform serves."""
        return deployed(self.instance, project, workspace)

    def due(self, project: Project) -> Due:
        """Return what the sensor would ask for now, and its reasons; asks for nothing."""
        heads = look_up_all(project)
        store = store_of(project)
        now = clock.now()
        return Observer(project, self.instance, store, now).due(heads)
