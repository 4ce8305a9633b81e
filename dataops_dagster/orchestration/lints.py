"""The check `lint`: is what stands at a workspace's head well formed? Shown; it decides nothing."""

# No `from __future__ import annotations` here: Dagster reads annotations as objects.

from collections.abc import Iterator

import dagster as dg

from dataops_dagster import execution, linting
from dataops_dagster.orchestration import metadata, naming, records
from dataops_dagster.orchestration.ops import answered_errors
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_gate import Lint, LintLevel
from dataops_dagster.settings_steps import MeltanoStep
from dataops_dagster.store import store_of


def lint_checks(project: Project) -> list[dg.AssetChecksDefinition]:
    """Return one check for each workspace that Meltano runs, or whose gate asks for lint."""
    linted = {w.name: w for w in project.workspaces.values() if _is_asked_for(w)}
    if not linted:
        return []
    specs = [
        dg.AssetCheckSpec(
            naming.LINT_CHECK,
            asset=naming.asset_key(project.name, name),
            description=f"The files of {name} are well formed, and so is its Meltano project in"
            f" environment {workspace.environment}.",
        )
        for name, workspace in linted.items()
    ]

    @dg.multi_asset_check(
        name=naming.lint_op(project.name),
        specs=specs,
        can_subset=True,
        description="Look into what stands at the heads of workspaces, and decide nothing.",
    )
    def lint(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        for key in sorted(context.selected_asset_check_keys):
            with answered_errors():
                yield _result(project, linted[key.asset_key.path[-1]])

    return [lint]


def _is_asked_for(workspace: Workspace) -> bool:
    steps = (workspace.run, workspace.deploy)
    return bool(workspace.gate and workspace.gate.lint) or any(
        isinstance(step, MeltanoStep) for step in steps
    )


def _result(project: Project, workspace: Workspace) -> dg.AssetCheckResult:
    rule = (workspace.gate and workspace.gate.lint) or Lint()
    store = store_of(project)
    commit = execution.pin(project, workspace, None, store=store)
    found = linting.at_commit(commit, project, workspace, store=store, ignore=rule.ignore)
    is_grave = bool(found.errors) or (rule.level is LintLevel.WARNING and bool(found.warnings))
    findings = [*found.errors, *found.warnings]
    return dg.AssetCheckResult(
        asset_key=naming.asset_key(project.name, workspace.name),
        check_name=naming.LINT_CHECK,
        passed=not findings,
        severity=dg.AssetCheckSeverity.ERROR if is_grave else dg.AssetCheckSeverity.WARN,
        description=f"{len(found.errors)} error(s), {len(found.warnings)} warning(s)",
        metadata={
            records.COMMIT: dg.MetadataValue.text(commit),
            **metadata.of_findings(findings),
        },
    )
