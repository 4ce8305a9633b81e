"""A stand-in for Tinybird's API, which the real `tb` of both dialects can drive without a network."""

from __future__ import annotations

from dataops_dagster.testing.tinybird.account import Dialect, Workspace
from dataops_dagster.testing.tinybird.clickhouse import ClickHouse
from dataops_dagster.testing.tinybird.engines import Rows
from dataops_dagster.testing.tinybird.faults import Fault, Faults
from dataops_dagster.testing.tinybird.server import Asked, StandIn

__all__ = [
    "Asked",
    "ClickHouse",
    "Dialect",
    "Fault",
    "Faults",
    "Rows",
    "StandIn",
    "Workspace",
]
