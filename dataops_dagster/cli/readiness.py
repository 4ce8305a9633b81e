"""What `dataops check` says of Dagster's instance, where DAGSTER_HOME names one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dataops_dagster.cli.session import Session, progress
from dataops_dagster.cli.shown import table
from dataops_dagster.errors import DataOpsError
from dataops_dagster.settings import Project

if TYPE_CHECKING:
    from dataops_dagster.orchestration.readiness import Finding


def look(
    session: Session, projects: Sequence[Project]
) -> tuple[Sequence[Finding], Sequence[DataOpsError]]:
    """Return what was found in the instance, and what kept us from looking; nothing without one."""
    if not os.environ.get("DAGSTER_HOME"):
        return (), ()
    from dataops_dagster.orchestration.instance import HomeInstance

    with progress(session, "asking Dagster's instance"):
        try:
            return HomeInstance().findings(projects), ()
        except DataOpsError as error:
            return (), (error,)


def tables(findings: Sequence[Finding]) -> list[Table]:
    """Return what was found as people read it."""
    rows = [(f.what, "to do" if f.mend else "ok", f.says, f.mend) for f in findings]
    return [table(("instance", "state", "answer", "what to do"), rows)] if rows else []
