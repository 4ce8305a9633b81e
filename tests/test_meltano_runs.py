"""Runs of the real Meltano: what they tell, what they share, and what keeps them apart."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from dataops_dagster import execution
from dataops_dagster.model import Failing, Outcome, Stream
from dataops_dagster.platforms import Result
from dataops_dagster.settings_steps import MeltanoStep
from tests.conftest import Shop
from tests.repositories import git

pytestmark = pytest.mark.slow

PROJECT = """
project_id: 5b6f0c8e-4f0b-4d0b-9a6e-3f1d6f1f2c11
environments: [{name: staging}, {name: prod}]
plugins:
  extractors:
  - name: tap-rows
    namespace: tap_rows
    executable: ./bin/tap
    capabilities: [discover, catalog, state]
  loaders:
  - {name: target-files, namespace: target_files, executable: ./bin/target}
jobs:
- {name: load, tasks: [tap-rows target-files]}
"""
JSONL = """
project_id: 5b6f0c8e-4f0b-4d0b-9a6e-3f1d6f1f2c11
environments: [{name: staging}]
plugins:
  extractors:
  - name: tap-jsonl
    namespace: tap_jsonl
    pip_url: PIP_URL
    executable: tap-jsonl
    capabilities: [discover, catalog, state]
    settings: [{name: path}, {name: stream_name}, {name: primary_keys, kind: array}]
    config: {path: users.jsonl, stream_name: users, primary_keys: [id]}
  loaders:
  - name: target-jsonl
    namespace: target_jsonl
    pip_url: target-jsonl==0.1.4
    executable: target-jsonl
    settings: [{name: destination_path}]
    config: {destination_path: out}
jobs:
- {name: load, tasks: [tap-jsonl target-jsonl]}
"""
FILES = {"users.jsonl": '{"id": 1}\n{"id": 2}\n', "out/.keep": ""}
TAP = """#!/usr/bin/env python3
import json, os, sys, time
from pathlib import Path
if "--discover" in sys.argv:
    print(json.dumps({"streams": [{"tap_stream_id": "rows", "stream": "rows", "schema": {}}]}))
    sys.exit()
marks = Path(os.environ["MARKS"])
(marks / "tap.pid").write_text(str(os.getpid()))
if (marks / "hold").exists():
    print("holding", file=sys.stderr, flush=True)
while (marks / "hold").exists():
    time.sleep(0.05)
began = "--state" in sys.argv
for message in (
    {"type": "SCHEMA", "stream": "rows", "schema": {}, "key_properties": []},
    *({"type": "RECORD", "stream": "rows", "record": {"id": i}} for i in range(3)),
    {"type": "STATE", "value": {"singer_state": {"rows": 3}}},
):
    print(json.dumps(message), flush=True)
metric = {"type": "counter", "metric": "record_count", "value": 3, "tags": {"stream": "rows"}}
print("METRIC:", json.dumps(metric), file=sys.stderr)
print("going on" if began else "from the beginning", file=sys.stderr)
if (marks / "fail-tap").exists():
    sys.exit(7)
"""
TARGET = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "STATE":
        print(json.dumps(message["value"]), flush=True)
if (Path(os.environ["MARKS"]) / "fail-target").exists():
    sys.exit(9)
"""
IDS = [f"5b6f0c8e-4f0b-4d0b-9a6e-{number:012}" for number in range(9)]


@pytest.fixture(scope="session")
def meltano(meltano_command) -> str:
    return meltano_command


@pytest.fixture
def marks(tmp_path: Path, monkeypatch) -> Path:
    """Return a folder in which a test says what the plug-ins shall do."""
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("MARKS", str(folder))
    return folder


@pytest.fixture
def rows_shop(empty_shop: Shop, marks: Path) -> Shop:
    """Staging and production hold a project whose plug-ins are programs of its own."""
    assert marks
    for workspace in (empty_shop.staging, empty_shop.prod):
        workspace.commit({"meltano.yml": PROJECT, "bin/tap": TAP, "bin/target": TARGET})
        git(workspace.clone, "update-index", "--chmod=+x", "bin/tap", "bin/target")
        git(workspace.clone, "commit", "--quiet", "-m", "Let them be executed")
        git(workspace.clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return empty_shop


GIVEN = ("MARKS", "UV_CACHE_DIR", "UV_SYSTEM_CERTS", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
"""What the plug-ins here want, and what an installer on this machine may need to find its index."""


def step(meltano: str, *blocks: str, variables: tuple[str, ...] = ()) -> MeltanoStep:
    return MeltanoStep(
        platform="meltano",
        run=blocks or ("load",),
        executable=meltano,
        variables=(*variables, *(name for name in GIVEN if name in os.environ)),
        deadline=timedelta(minutes=5),
    )


def run(
    shop: Shop, step: MeltanoStep, lines: list[str], *, number: int = 0, name: str = "staging"
) -> Result:
    workspace = shop.project.workspaces[name]
    result, _ = execution.execute(
        shop.project,
        workspace,
        step,
        commit=execution.pin(shop.project, workspace, None, store=shop.store),
        run_id=IDS[number],
        store=shop.store,
        on_line=lines.append,
    )
    return result


def asked(database: Path, query: str) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def wait_for(path: Path) -> str:
    for _ in range(1200):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


def is_alive(pid: str) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


# --- what a run tells -------------------------------------------------------------------------


def test_a_run_tells_its_rows_and_passes_on_the_id_of_the_dagster_run(
    rows_shop: Shop, meltano, tmp_path
):
    lines: list[str] = []
    result = run(rows_shop, step(meltano), lines)
    assert result.passed, lines
    assert result.facts.streams == (Stream("tap-rows", "rows", 3),)
    database = tmp_path / "state" / "shop" / "staging" / "meltano.db"
    ((run_id, state_id),) = asked(database, "select run_id, job_name from runs")
    assert run_id.replace("-", "") == IDS[0].replace("-", "")
    assert state_id == "staging:tap-rows-to-target-files"


@pytest.mark.parametrize(
    ("mark", "failing"),
    [("fail-tap", Failing("tap-rows", 7)), ("fail-target", Failing("target-files", 9))],
)
def test_a_run_that_fails_names_the_plug_in_and_its_exit_code(
    rows_shop: Shop, meltano, marks, mark, failing
):
    (marks / mark).touch()
    lines: list[str] = []
    result = run(rows_shop, step(meltano, "tap-rows", "target-files"), lines)
    assert result.outcome is Outcome.FAILED, lines
    assert result.facts.failing == (failing,)
    assert result.detail.startswith(
        f"{failing.plugin} ended with exit code {failing.exit_code}; meltano ended with"
    )


def test_a_stream_that_nobody_counts_is_told_as_the_plug_ins_definition_names_it(
    rows_shop: Shop, meltano
):
    chosen = PROJECT.replace(
        "executable: ./bin/tap\n", "executable: ./bin/tap\n    select: [rows.*]\n"
    )
    silent = TAP.replace('"METRIC:"', '"nothing:"')
    rows_shop.staging.commit({"meltano.yml": chosen, "bin/tap": silent})
    lines: list[str] = []
    result = run(rows_shop, step(meltano), lines)
    assert result.passed, lines
    assert result.facts.streams == (Stream("tap-rows", "rows"),)


# --- state ------------------------------------------------------------------------------------


def test_state_is_kept_between_runs_and_apart_for_each_environment(
    rows_shop: Shop, meltano, tmp_path
):
    lines: list[str] = []
    for number in range(2):
        assert run(rows_shop, step(meltano), lines, number=number).passed, lines
    assert run(rows_shop, step(meltano), lines, number=2, name="prod").passed, lines
    began = [line for line in lines if "from the beginning" in line or "going on" in line]
    assert [line.partition(": ")[2] for line in began] == [
        "from the beginning",
        "going on",
        "from the beginning",
    ]
    for name in ("staging", "prod"):
        database = tmp_path / "state" / "shop" / name / "meltano.db"
        found = asked(database, "select state_id from state")
        assert found == [(f"{name}:tap-rows-to-target-files",)]


def test_a_second_run_of_a_state_is_refused_before_it_starts(rows_shop: Shop, meltano, marks):
    (marks / "hold").touch()
    lines, seen = list[str](), list[str]()
    with ThreadPoolExecutor(1) as pool:
        first: Future[Result] = pool.submit(run, rows_shop, step(meltano), lines)
        try:
            wait_for(marks / "tap.pid")
            second = run(rows_shop, step(meltano, "tap-rows", "target-files"), seen, number=1)
        finally:
            (marks / "hold").unlink()
        assert first.result().passed, lines
    assert second.outcome is Outcome.ERRORED
    assert second.detail == f"Dagster run {IDS[0]} is at work on staging:tap-rows-to-target-files"
    assert seen == []
    assert run(rows_shop, step(meltano), seen, number=2).passed, seen


def test_after_a_run_whose_machine_died_the_next_one_goes_on_at_once(
    rows_shop: Shop, meltano, marks, tmp_path
):
    """Meltano's database says for minutes that the run is under way."""
    (marks / "hold").touch()
    lines: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, rows_shop, step(meltano), lines)
        tap = int(wait_for(marks / "tap.pid"))
        os.killpg(os.getpgid(tap), signal.SIGKILL)
        assert not first.result().passed
    database = tmp_path / "state" / "shop" / "staging" / "meltano.db"
    assert asked(database, "select state from runs") == [("RUNNING",)]
    (marks / "hold").unlink()
    assert run(rows_shop, step(meltano), lines, number=1).passed, lines


# --- the end ----------------------------------------------------------------------------------


class Interrupting(list[str]):
    """Lines that nobody wants to read on, once a plug-in has begun."""

    def append(self, line: str) -> None:
        if "holding" in line:
            raise KeyboardInterrupt


def test_plug_ins_end_with_a_run_that_is_interrupted(rows_shop: Shop, meltano, marks):
    (marks / "hold").touch()
    with pytest.raises(KeyboardInterrupt):
        run(rows_shop, step(meltano), Interrupting())
    assert not is_alive((marks / "tap.pid").read_text())


# --- installations ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture
def jsonl_shop(empty_shop: Shop, marks: Path, downloads: Path, monkeypatch) -> Shop:
    """Staging holds a project whose plug-ins come from PyPI, each fetched once for all tests."""
    assert marks
    monkeypatch.setenv("UV_CACHE_DIR", str(downloads))
    empty_shop.staging.commit(FILES)
    return use(empty_shop, "tap-jsonl==0.3.1")


def use(shop: Shop, pip_url: str) -> Shop:
    shop.staging.commit({"meltano.yml": JSONL.replace("PIP_URL", pip_url)}, pip_url)
    return shop


def made(tmp_path: Path) -> dict[str, int]:
    """Return when each installation was made."""
    shared = tmp_path / "cache" / "meltano" / "shop" / "plugins"
    found = shared.glob("*/venv/.meltano_plugin_fingerprint")
    return {path.parent.parent.name: path.stat().st_mtime_ns for path in found}


def test_plug_ins_are_installed_once_for_all_commits_that_install_the_same(
    jsonl_shop: Shop, meltano, tmp_path
):
    lines: list[str] = []
    first = run(jsonl_shop, step(meltano), lines)
    assert first.passed, lines
    assert first.facts.streams == (Stream("tap-jsonl", "users", 2),)
    before = made(tmp_path)
    assert len(before) == 2
    jsonl_shop.staging.commit({"users.jsonl": '{"id": 1}\n', "models/a.sql": "select 1\n"})
    again: list[str] = []
    second = run(jsonl_shop, step(meltano), again, number=1)
    assert second.passed, again
    assert second.facts.streams == (Stream("tap-jsonl", "users", 1),)
    assert made(tmp_path) == before
    assert any("Installing" in line for line in lines)
    assert not any("Install" in line for line in again)
    assert "--no-install" in second.ran


def test_commits_that_install_different_versions_do_not_disturb_each_other(
    jsonl_shop: Shop, meltano, tmp_path
):
    lines: list[str] = []
    urls = ("tap-jsonl==0.3.1", "tap-jsonl==0.3.1 backoff==2.2.1")
    found = []
    for number, pip_url in enumerate((*urls, *urls)):
        result = run(use(jsonl_shop, pip_url), step(meltano), lines, number=number)
        assert result.passed, lines
        found.append(made(tmp_path))
    assert [len(each) for each in found] == [2, 3, 3, 3]
    assert found[1] == found[2] == found[3]
    assert found[0].items() < found[1].items()


def test_two_first_runs_at_once_install_once(jsonl_shop: Shop, meltano):
    """They are of two workspaces, so that neither holds the other's state."""
    text = jsonl_shop.staging.show("meltano.yml").replace("name: staging", "name: prod")
    jsonl_shop.prod.commit({**FILES, "meltano.yml": text})
    both: list[list[str]] = [[], []]
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(run, jsonl_shop, step(meltano), lines, number=number, name=name)
            for number, (lines, name) in enumerate(zip(both, ("staging", "prod"), strict=True))
        ]
    assert all(each.result().passed for each in runs), both
    assert sum("Installed extractor" in line for lines in both for line in lines) == 1


def test_what_cannot_be_installed_proves_nothing_and_tells_no_secret(
    jsonl_shop: Shop, meltano, monkeypatch, tmp_path
):
    monkeypatch.setenv("PYPI_TOKEN", "t0ken-t0ken")
    pip_url = "no-such-tap-anywhere --index-url http://u:p4ssword@127.0.0.1:9/$PYPI_TOKEN/simple"
    lines: list[str] = []
    told = step(meltano, variables=("PYPI_TOKEN",))
    result = run(use(jsonl_shop, pip_url), told, lines)
    assert result.outcome is Outcome.ERRORED, lines
    assert result.detail.startswith("cannot install plug-ins: ended with exit code 1")
    kept = [str(path) for path in tmp_path.rglob("*") if "cache" in path.parts]
    for secret in ("t0ken-t0ken", "p4ssword"):
        assert secret not in "\n".join([result.detail, result.ran, *lines, *kept])


def test_a_plug_in_of_the_projects_own_files_is_installed_for_its_run_alone(
    jsonl_shop: Shop, meltano, tmp_path
):
    setup = "from setuptools import setup\nsetup(name='own', version='1', py_modules=['own'], "
    setup += "install_requires=['tap-jsonl==0.3.1'])\n"
    jsonl_shop.staging.commit({"own/setup.py": setup, "own/own.py": ""})
    lines: list[str] = []
    result = run(use(jsonl_shop, "tap-jsonl==0.3.1 -e ./own"), step(meltano), lines)
    assert result.passed, lines
    assert len(made(tmp_path)) == 1
