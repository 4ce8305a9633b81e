"""Everything Dagster needs for a project. Loading it touches no repository and no network."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import dagster as dg

from dataops_dagster import config
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.asking import MARGIN, PROMOTION
from dataops_dagster.orchestration.assets import (
    decision_specs,
    deployment_assets,
    source_assets,
    target_asset,
)
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.checks import run_checks
from dataops_dagster.orchestration.decisions import decide_job, rollback_job
from dataops_dagster.orchestration.lints import lint_checks
from dataops_dagster.orchestration.ops import IO_MANAGER_KEY
from dataops_dagster.orchestration.outlook import outlook_checks
from dataops_dagster.orchestration.products import produced_specs, stream_specs
from dataops_dagster.orchestration.schedules import schedules
from dataops_dagster.orchestration.sensors import gates_sensor, heads_sensor
from dataops_dagster.orchestration.trials import branches_sensor, trial_job, trial_workspaces
from dataops_dagster.settings import Project, Workspace

UnresolvedJob: TypeAlias = Any  # what define_asset_job returns has no public name
SpecOf: TypeAlias = Callable[[dg.AssetSpec, Workspace], dg.AssetSpec]

_IO_MANAGER = dg.FilesystemIOManager()


def build_dataops_definitions(*paths: str | Path) -> dg.Definitions:
    """Return the definitions of the projects in these files; raises `ConfigError`.

    Merge them with your own by `dg.Definitions.merge`. Materializing by hand in the UI uses the
    executor of your `Definitions`; the jobs made here run in one process.
    """
    return dg.Definitions.merge(
        *(definitions_of(project) for project in config.load_all(map(Path, paths)))
    )


def definitions_of(
    project: Project,
    *,
    spec_of: SpecOf = lambda spec, _: spec,
    book_of: BookOf = InstanceBook,
) -> dg.Definitions:
    """Return one project's definitions.

    `spec_of` gets each asset of each workspace and returns how it should appear; `book_of` says
    where evidence is found.
    """
    targets = [target_asset(project, target, book_of) for target in project.targets]
    deployments = deployment_assets(project)
    checks = run_checks(project, book_of)
    # One job a verb, shared by all workspaces: a job a workspace makes loading quadratic.
    jobs = []
    if targets:
        jobs.append(
            _job(
                naming.promote_job(project.name),
                dg.AssetSelection.assets(*targets).without_checks(),
                "Promote into the targets you choose; each asks its gate.",
                PROMOTION,
            )
        )
    if deployments:
        jobs.append(
            _job(
                naming.deploy_job(project.name),
                dg.AssetSelection.assets(*deployments),
                "Deploy the workspaces you choose, each at its head or a commit on its branch.",
                _longest(project, "deploy"),
            )
        )
    if checks:
        jobs.append(
            _job(
                naming.run_job(project.name),
                dg.AssetSelection.checks(*checks),
                "Run the workspaces you choose and record the evidence.",
                _longest(project, "run"),
            )
        )
    if targets:
        jobs += [decide_job(project), rollback_job(project)]
    assets: list[Any] = [source_assets(project), *targets, *deployments]
    assets += [*decision_specs(project), *stream_specs(project), *produced_specs(project)]
    is_at_tinybird = bool(trial_workspaces(project))
    trials = [trial_job(project)] if is_at_tinybird else []
    reapers = [branches_sensor(project)] if is_at_tinybird else []
    return dg.Definitions(
        assets=dg.map_asset_specs(_shower(project, spec_of), assets),
        asset_checks=[*checks, *outlook_checks(project, book_of), *lint_checks(project)],
        jobs=[*jobs, *trials],
        sensors=[heads_sensor(project), gates_sensor(project, jobs, book_of), *reapers],
        schedules=schedules(project, book_of),
        resources={IO_MANAGER_KEY: _IO_MANAGER},
    )


def _shower(project: Project, spec_of: SpecOf) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Return what makes an asset as the configuration says, and then as the user's code says."""
    produced = project.produced

    def show(spec: dg.AssetSpec) -> dg.AssetSpec:
        workspace = produced.get(spec.key.to_user_string()) or project.workspaces[spec.key.path[1]]
        owners, tags = project.owners_of(workspace), project.tags_of(workspace)
        if owners or tags:
            spec = spec.merge_attributes(owners=owners, tags=tags)
        return spec_of(spec, workspace)

    return show


def _job(
    name: str, selection: dg.AssetSelection, description: str, limit: timedelta
) -> UnresolvedJob:
    return dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        # Each further process costs seconds; these ops wait for git and the platform anyway.
        executor_def=dg.in_process_executor,
        # Also for runs that a person launches: a worker that died would block others for ever.
        tags={"dagster/max_runtime": str(int(limit.total_seconds()))},
    )


def _longest(project: Project, verb: Literal["run", "deploy"]) -> timedelta:
    steps = [getattr(workspace, verb) for workspace in project.workspaces.values()]
    return max((step.deadline for step in steps if step), default=timedelta()) + MARGIN


@dg.definitions
def defs() -> dg.Definitions:
    """Load the projects that DATAOPS_CONFIG names (default: dataops.yaml, in this folder)."""
    made = build_dataops_definitions(*config.default_paths())
    # Here stands nobody else's asset. Of definitions that are merged, the user names the executor.
    return dg.Definitions.merge(made, dg.Definitions(executor=dg.in_process_executor))
