"""Promote data workspaces safely: what lands in production is what a staging run proved."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataops_dagster.orchestration.component import DataOpsProjectComponent
    from dataops_dagster.orchestration.definitions import build_dataops_definitions

__version__ = "0.1.0"
__all__ = ["DataOpsProjectComponent", "__version__", "build_dataops_definitions"]

# The command line starts without Dagster, whose import takes seconds.
_LAZY = {
    "DataOpsProjectComponent": "dataops_dagster.orchestration.component",
    "build_dataops_definitions": "dataops_dagster.orchestration.definitions",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(name)


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
