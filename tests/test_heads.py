"""Looking up many heads: silent servers cost one deadline, not one for each workspace."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_dagster import config, heads
from dataops_dagster.errors import ToolError
from dataops_dagster.heads import Head, look_up_all
from dataops_dagster.settings import Project
from tests.repositories import make_workspace

SILENT = 60


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that lets everybody connect and never says a word; returns its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=SILENT) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def project(tmp_path: Path, silent: str) -> Project:
    """Many workspaces at a silent server, and behind them one that answers."""
    make_workspace(tmp_path, "here").commit({"a.txt": "a\n"}, "First")
    lines = ["project: shop", "protocols: [http, file]", "workspaces:"]
    for number in range(SILENT):
        url = f"http://{silent}/{number}.git"
        lines.append(f"  away_{number}: {{repository: '{url}', environment: dev}}")
    lines.append("  here: {repository: here.git, environment: dev}")
    (tmp_path / "dataops.yaml").write_text("\n".join(lines))
    return config.load(tmp_path / "dataops.yaml")


def test_a_silent_server_costs_one_deadline_however_many_workspaces_it_has(project, monkeypatch):
    monkeypatch.setattr(heads, "LOOKUP_SECONDS", 2.0)
    found = look_up_all(project)
    assert isinstance(found["here"], Head)
    assert list(found) == list(project.workspaces)
    errors = [found[name] for name in found if name != "here"]
    assert all(isinstance(error, ToolError) and error.retryable for error in errors)
    skipped = [error for error in errors if "was silent" in str(error)]
    assert len(skipped) >= SILENT - 8  # all but those that were asked at once
    assert all("127.0.0.1" in str(error) for error in skipped)


def test_nobody_is_asked_when_the_time_for_all_is_over(project, monkeypatch):
    monkeypatch.setattr(heads, "ALL_SECONDS", 0.0)
    for name, error in look_up_all(project).items():
        assert f"workspaces.{name}" in str(error)
        assert "not its turn" in str(error)
