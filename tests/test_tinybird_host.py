"""A host of which only its API is known: the flow and the guide run there, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dataops_dagster.testing.tinybird import ClickHouse, StandIn
from tests.tinybird import VARIABLES

# Not in the group of the other tests of SQL: they may run meanwhile, in another process.
pytestmark = [pytest.mark.sql, pytest.mark.xdist_group("host")]
TESTS = Path(__file__).parent


def test_the_flow_and_the_guide_hold_at_a_host_that_is_named(tmp_path: Path, tb_commands):
    with closing(ClickHouse()) as engine, StandIn(engine) as host, StandIn(engine) as local:
        host.create_workspace("first")  # whoever has an account has one
        named = {
            "DATAOPS_TINYBIRD_HOST": host.url,
            "DATAOPS_TINYBIRD_USER_TOKEN": host.user_token,
            "DATAOPS_TINYBIRD_LOCAL": local.url,
            **{VARIABLES[dialect]: command for dialect, command in tb_commands.items()},
        }
        told = run_both(named, tmp_path / "report.xml")
        left = {workspace.name for workspace in host.account.mains()}
    assert (int(told["tests"]) >= 20, told["skipped"]) == (True, "0")
    # They were at this host, each in workspaces of its own, and at Tinybird Local for Forward's tests.
    made = [a for a in host.requests if (a.method, a.path[3:]) == ("POST", "/workspaces")]
    assert len(made) > 20
    assert left == {"first"}
    assert "/v1/build" in {asked.path for asked in local.requests}
    assert "/v1/build" not in {asked.path for asked in host.requests}


def run_both(named: dict[str, str], report: Path) -> dict[str, str]:
    """Run the flow and the guide in a process of their own; returns the counts of what ran."""
    files = [TESTS / f"test_tinybird_{name}.py" for name in ("flow", "guide")]
    words = ["-m", "slow and not stand_in", "-p", "no:cacheprovider", f"--junit-xml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *files],
        cwd=TESTS.parent,
        env={**os.environ, **named},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (suite,) = ET.parse(report).getroot()
    return suite.attrib
