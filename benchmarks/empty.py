"""A job that does nothing: what a run costs in Dagster before any of our work."""

import dagster as dg


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.job(executor_def=dg.in_process_executor)
def empty() -> None:
    """Do nothing, as a run."""
    nothing()


defs = dg.Definitions(jobs=[empty])
