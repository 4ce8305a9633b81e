"""Promote data workspaces safely: what lands in production is what a staging run proved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataops_dagster.orchestration.definitions import build_dataops_definitions

__version__ = "0.1.0"
__all__ = ["__version__", "build_dataops_definitions"]


def __getattr__(name: str) -> Any:
    # The command line starts without Dagster, whose import takes seconds.
    if name == "build_dataops_definitions":
        from dataops_dagster.orchestration.definitions import build_dataops_definitions

        return build_dataops_definitions
    raise AttributeError(name)
