"""Dagster's instance for programs that run outside Dagster, such as the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import dagster as dg
from yaml import YAMLError

from dataops_dagster.errors import ConfigError
from dataops_dagster.heads import look_up_all
from dataops_dagster.model import Evidence
from dataops_dagster.orchestration.records import InstanceEvidence, deployed
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
        """Return evidence, as `InstanceEvidence` does."""
        return InstanceEvidence(self.instance).find(project, workspace, environment, commits)

    def deployed(self, project: str, workspace: str) -> str | None:
        """Return the commit that a workspace's platform serves."""
        return deployed(self.instance, project, workspace)

    def due(self, project: Project) -> Due:
        """Return what the sensor would ask for now, and its reasons; asks for nothing."""
        heads = look_up_all(project)
        store = store_of(project)
        now = datetime.now(timezone.utc)
        return Observer(project, self.instance, store, now).due(heads)
