"""How the words of a project are spelled in Dagster: asset keys, op names, run tags."""

from __future__ import annotations

import dagster as dg

RUN_CHECK, GATE_CHECK, MERGE_CHECK, LINT_CHECK = "run", "gate", "merge", "lint"
DATA_VERSION_TAG = "dagster/data_version"  # Dagster keeps its own constant for it private
INPUT_DATA_VERSION_TAG = "dagster/input_data_version"
REFUSED_TAG = "dataops.refused"
"""Marks a run that was refused, as another is at work on the same; its value is the run's own id.

Who runs it again copies its tags, but the run that they make has another id.
"""

ALL_ASSETS_JOB = "__ASSET_JOB"
"""The job that the UI's Materialize and Execute buttons launch."""


def asset_key(project: str, workspace: str) -> dg.AssetKey:
    """Return the key of a workspace's asset, whose data version is the workspace's head."""
    return dg.AssetKey([project, workspace])


def input_tag(project: str, workspace: str, prefix: str = INPUT_DATA_VERSION_TAG) -> str:
    """Return the tag by which an event says what it was made of, of a workspace's asset."""
    return f"{prefix}/{'/'.join(asset_key(project, workspace).path)}"


def deployment_key(project: str, workspace: str) -> dg.AssetKey:
    """Return the key of what the platform serves, downstream of the workspace's asset."""
    return dg.AssetKey([project, workspace, "deployment"])


def decisions_key(project: str, target: str) -> dg.AssetKey:
    """Return the key under which people's decisions about a target are recorded."""
    return dg.AssetKey([project, target, "decisions"])


def stream_key(project: str, workspace: str, extractor: str, stream: str) -> dg.AssetKey:
    """Return the key of a stream that a workspace's runs move, downstream of its asset."""
    return dg.AssetKey([project, workspace, extractor, stream])


def promote_job(project: str) -> str:
    """Return the name of the job that promotes any of the project's targets."""
    return f"promote_{project}"


def run_job(project: str) -> str:
    """Return the name of the job that runs any of the project's workspaces."""
    return f"run_{project}"


def deploy_job(project: str) -> str:
    """Return the name of the job that deploys any of the project's workspaces."""
    return f"deploy_{project}"


def decide_job(project: str) -> str:
    """Return the name of the job that records a decision about one of the project's targets."""
    return f"decide_{project}"


def rollback_job(project: str) -> str:
    """Return the name of the job that rolls one of the project's targets back."""
    return f"rollback_{project}"


def jobs(project: str) -> set[str]:
    """Return the names of the jobs whose runs tell what is believed of the project's workspaces."""
    kinds = (promote_job, run_job, deploy_job, decide_job, rollback_job)
    return {job(project) for job in kinds}


def trial_job(project: str) -> str:
    """Return the name of the job that says whether a commit would do at Tinybird."""
    return f"ci_{project}"


def trial_op(project: str) -> str:
    """Return the name of the op that does."""
    return f"ci__{project}"


def decide_op(project: str) -> str:
    """Return the name of the op that records decisions; they are believed from its steps only."""
    return f"decide__{project}"


def rollback_op(project: str) -> str:
    """Return the name of the op that rolls back, and records what it rejects."""
    return f"rollback__{project}"


def gate_op(project: str) -> str:
    """Return the name of the op that shows where gates stand."""
    return f"gate__{project}"


def merge_op(project: str) -> str:
    """Return the name of the op that shows what would be merged."""
    return f"merge__{project}"


def lint_op(project: str) -> str:
    """Return the name of the op that looks into what stands at heads."""
    return f"lint__{project}"


def run_op(project: str) -> str:
    """Return the name of the op that runs workspaces; evidence is believed from its steps only."""
    return f"run__{project}"


def deploy_op(project: str) -> str:
    """Return the name of the op that deploys workspaces."""
    return f"deploy__{project}"


def promotion_graph(project: str, target: str) -> str:
    """Return the name Dagster gives the target's graph; run configuration stands under it."""
    return f"{project}__{target}"


def promotion_op(step: str, project: str, target: str) -> str:
    """Return the name of one of the target's three ops: fetch, plan, publish."""
    return f"{step}__{project}__{target}"


def pool(project: str, target: str) -> str:
    """Return the pool of the op that publishes to a target: one at a time, out of politeness."""
    return f"dataops__{project}__{target}"


# A run tag holds everything a look-up needs in one value: Dagster finds one selective tag in
# milliseconds among 100,000 runs, and two less selective ones in seconds.


def run_tag(project: str, workspace: str, commit: str, environment: str) -> tuple[str, str]:
    """Return the tag that finds runs of a workspace at a commit in an environment."""
    return f"dataops.run/{project}.{workspace}", f"{commit}@{environment}"


def promotion_tag(project: str, target: str, upstream_commit: str) -> tuple[str, str]:
    """Return the tag that finds runs which promote a commit into a target."""
    return f"dataops.promotion/{project}.{target}", upstream_commit


def deployment_tag(project: str, workspace: str, commit: str) -> tuple[str, str]:
    """Return the tag that finds runs which deploy a workspace's commit."""
    return f"dataops.deployment/{project}.{workspace}", commit


def rollback_tag(project: str, target: str, commit: str) -> tuple[str, str]:
    """Return the tag that finds runs which roll a target back from a commit."""
    return f"dataops.rollback/{project}.{target}", commit
