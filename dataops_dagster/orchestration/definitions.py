"""Everything Dagster needs for a project. Loading it touches no repository and no network."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from dataops_dagster import config
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.assets import deployment_assets, source_assets, target_asset
from dataops_dagster.orchestration.checks import run_checks
from dataops_dagster.orchestration.ops import IO_MANAGER_KEY
from dataops_dagster.orchestration.schedules import schedules
from dataops_dagster.orchestration.sensors import gates_sensor, heads_sensor
from dataops_dagster.settings import Project

_IO_MANAGER = dg.FilesystemIOManager()


def build_dataops_definitions(*paths: str | Path) -> dg.Definitions:
    """Return the definitions of the projects in these files; raises `ConfigError`.

    Merge them with your own by `dg.Definitions.merge`. Materializing by hand in the UI uses the
    executor of your `Definitions`; the jobs made here run in one process.
    """
    return dg.Definitions.merge(
        *(definitions_of(project) for project in config.load_all(map(Path, paths)))
    )


def definitions_of(project: Project) -> dg.Definitions:
    """Return one project's definitions."""
    targets = [target_asset(project, target) for target in project.targets]
    deployments = deployment_assets(project)
    checks = run_checks(project)
    selections = {
        naming.promote_job: dg.AssetSelection.assets(*targets).without_checks()
        if targets
        else None,
        naming.deploy_job: dg.AssetSelection.assets(*deployments) if deployments else None,
        naming.run_job: dg.AssetSelection.checks(*checks) if checks else None,
    }
    # One job a verb, shared by all workspaces: a job a workspace makes loading quadratic.
    jobs = [
        dg.define_asset_job(
            name(project.name),
            selection=selection,
            # Each further process costs seconds; these ops wait for git and the platform anyway.
            executor_def=dg.in_process_executor,
        )
        for name, selection in selections.items()
        if selection is not None
    ]
    return dg.Definitions(
        assets=[source_assets(project), *targets, *deployments],
        asset_checks=checks,
        jobs=jobs,
        sensors=[heads_sensor(project), gates_sensor(project, jobs)],
        schedules=schedules(project),
        resources={IO_MANAGER_KEY: _IO_MANAGER},
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the projects that DATAOPS_CONFIG names (default: dataops.yaml, in this folder)."""
    given = os.environ.get("DATAOPS_CONFIG", str(config.DEFAULT_PATH))
    return build_dataops_definitions(*given.split(os.pathsep))
