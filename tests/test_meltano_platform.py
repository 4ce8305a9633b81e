"""How meltano is called: with which options, for how many runs at once, and with what in sight.

A script stands where the command is; see test_meltano_runs.py for runs of the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from dataops_dagster import execution
from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Outcome
from dataops_dagster.platforms import Result
from dataops_dagster.platforms import meltano as platform
from dataops_dagster.platforms.meltano_command import Meltano
from dataops_dagster.settings_steps import MeltanoStep
from tests.conftest import Shop
from tests.test_meltano_log import metric, said

pytestmark = pytest.mark.slow

RUN_ID = "5b6f0c8e-4f0b-4d0b-9a6e-3f1d6f1f2c11"
PROJECT = """
environments: [{name: staging}]
plugins:
  extractors:
  - {name: tap, namespace: tap, executable: ./tap}
  - {name: tap-hub}
  - {name: tap-pip, namespace: tap, pip_url: PIP_URL}
  loaders: [{name: target, namespace: target, executable: ./target}]
jobs: [{name: load, tasks: [tap target]}]
"""
INSTALLS = """
case "$*" in *install*)
  mkdir -p "$MELTANO_SYS_DIR_ROOT/extractors/tap-pip/venv/bin"
  ln -s /bin/sh "$MELTANO_SYS_DIR_ROOT/extractors/tap-pip/venv/bin/python"
  printf %064d 0 > "$MELTANO_SYS_DIR_ROOT/extractors/tap-pip/venv/.meltano_plugin_fingerprint";;
esac"""


@pytest.fixture
def meltano_shop(shop: Shop) -> Shop:
    shop.staging.commit({"meltano.yml": PROJECT})
    return shop


def run(
    shop: Shop,
    script: str,
    *blocks: str,
    variables: tuple[str, ...] = (),
    on_line: Callable[[str], None] | None = None,
    **more: object,
) -> tuple[Result, list[str]]:
    """Run staging, with a script as the meltano command; returns its result and its lines."""
    program, lines = shop.root / "meltano", list[str]()
    program.write_text(f"#!/bin/sh\necho 'called with' \"$@\"\n{script}\n")
    program.chmod(0o755)
    workspace = shop.project.workspaces["staging"]
    result, _ = execution.execute(
        shop.project,
        workspace,
        MeltanoStep(
            platform="meltano",
            run=blocks or ("load",),
            executable=str(program),
            variables=variables,
            **more,
        ),
        commit=execution.pin(shop.project, workspace, None, store=shop.store),
        run_id=RUN_ID,
        store=shop.store,
        on_line=on_line or lines.append,
    )
    return result, lines


def calls(lines: list[str]) -> list[str]:
    """Return what the command was called with."""
    start = "called with --log-format=json "
    return [line.removeprefix(start) for line in lines if line.startswith(start)]


# --- options ----------------------------------------------------------------------------------


def test_meltano_gets_environment_run_id_and_blocks_and_installs_nothing(meltano_shop: Shop):
    _, lines = run(meltano_shop, "", "load", "dbt:run")
    options = f"--environment=staging run --run-id={RUN_ID} --no-install --force"
    assert calls(lines) == [f"{options} load dbt:run"]


def test_what_only_a_hub_knows_meltano_installs_for_itself(meltano_shop: Shop):
    _, lines = run(meltano_shop, "", "tap-hub", "target")
    assert "--no-install" not in calls(lines)[0]


def test_where_others_may_use_the_database_meltano_looks_for_them(meltano_shop: Shop, monkeypatch):
    monkeypatch.setenv("MELTANO_DATABASE_URI", "postgresql://db/meltano")
    script = 'echo "database $MELTANO_DATABASE_URI"'
    _, own = run(meltano_shop, script)
    _, shared = run(meltano_shop, script, variables=("MELTANO_DATABASE_URI",))
    assert "--force" in calls(own)[0]
    assert "--force" not in calls(shared)[0]
    assert any(line.startswith("database sqlite:///") for line in own)
    meltano_shop.staging.commit({"meltano.yml": "env: {MELTANO_DATABASE_URI: x}\n" + PROJECT})
    _, named = run(meltano_shop, script)
    assert "--force" not in calls(named)[0]


def test_a_file_that_is_no_project_is_meltanos_to_refuse(shop: Shop):
    shop.staging.commit({"meltano.yml": "[" * 5000})
    result, _ = run(shop, "exit 1")
    assert result.outcome is Outcome.FAILED


def test_a_job_of_more_plug_ins_than_anybody_has_is_refused(meltano_shop: Shop):
    tasks = ", ".join(["tap target"] * 200)
    meltano_shop.staging.commit({"meltano.yml": PROJECT.replace("[tap target]", f"[{tasks}]")})
    with pytest.raises(ConfigError, match="run more than 300 plug-ins"):
        run(meltano_shop, "")


def test_a_hostile_name_in_a_state_id_harms_nothing(meltano_shop: Shop, tmp_path: Path):
    text = PROJECT.replace("{name: target,", r'{name: "t\ud800\e[31m",').replace(
        "[tap target]", r'["tap t\ud800\e[31m"]'
    )
    meltano_shop.staging.commit({"meltano.yml": text})
    assert run(meltano_shop, "")[0].passed
    assert list((tmp_path / "state" / "shop" / "staging" / "locks").iterdir())


# --- one run at a time ------------------------------------------------------------------------


def test_a_run_of_a_state_that_another_is_at_work_on_is_refused_before_it_starts(
    meltano_shop: Shop,
):
    seen = []

    def on_line(_line: str) -> None:
        seen.append(run(meltano_shop, "", "tap", "target"))

    first, _ = run(meltano_shop, "", on_line=on_line)
    ((second, lines),) = seen
    assert first.passed
    assert second.outcome is Outcome.ERRORED
    assert second.detail == f"Dagster run {RUN_ID} is at work on staging:tap-to-target"
    assert (first.refused_by, second.refused_by) == (None, RUN_ID)
    assert lines == []
    assert run(meltano_shop, "")[0].passed


def test_a_run_of_another_state_goes_on_beside_it(meltano_shop: Shop):
    seen = []
    run(meltano_shop, "", on_line=lambda _: seen.append(run(meltano_shop, "", "tap-hub", "target")))
    assert [result.outcome for result, _ in seen] == [Outcome.PASSED]


def test_what_ends_a_program_of_a_dead_worker_holds_its_locks_until_then(meltano_shop: Shop):
    _, lines = run(meltano_shop, 'ls -l "/proc/$PPID/fd"')
    assert any("/state/shop/staging/locks/" in line for line in lines)


# --- installations ----------------------------------------------------------------------------


def with_pip_url(shop: Shop, pip_url: str) -> Shop:
    shop.staging.commit({"meltano.yml": PROJECT.replace("PIP_URL", pip_url)})
    return shop


def test_a_plug_in_is_installed_before_the_first_run_and_for_no_later_one(meltano_shop: Shop):
    seen = [run(meltano_shop, INSTALLS, "tap-pip", "target") for _ in range(2)]
    assert [result.outcome for result, _ in seen] == [Outcome.PASSED] * 2
    commands = [call.split()[0] for _, lines in seen for call in calls(lines)]
    assert commands == ["install", "--environment=staging", "--environment=staging"]


def test_a_name_of_a_plug_in_is_no_option(meltano_shop: Shop):
    job = "- {name: clean, tasks: [--clean target]}"
    text = PROJECT.replace("tap-pip", "--clean").replace("jobs: [", f"jobs:\n{job}\n- ")[:-2]
    meltano_shop.staging.commit({"meltano.yml": text + "\n"})
    _, lines = run(meltano_shop, "exit 1", "clean")
    assert calls(lines) == ["install -- --clean"]


def test_what_cannot_be_installed_proves_nothing(meltano_shop: Shop):
    result, lines = run(meltano_shop, "echo no network; exit 1", "tap-pip", "target")
    assert result.outcome is Outcome.ERRORED
    assert result.detail.startswith("cannot install plug-ins: ended with exit code 1: called with")
    assert result.detail.endswith("no network")
    assert len(calls(lines)) == 1


@pytest.mark.parametrize(("gone", "outcome"), [(0, Outcome.FAILED), (3000, Outcome.ERRORED)])
def test_a_run_that_installing_left_too_little_of_the_deadline_proves_nothing(
    meltano_shop: Shop, monkeypatch, gone: int, outcome: Outcome
):
    """Its deadline, two seconds after it began, is evidence only if it had them for itself."""
    begin = time.monotonic() - gone
    monkeypatch.setattr(platform, "Meltano", partial(Meltano, begin=begin))
    result, _ = run(meltano_shop, "sleep 60", deadline=timedelta(seconds=gone + 2))
    assert result.outcome is outcome
    assert result.detail.startswith("was ended at its deadline of 0:")
    assert (", of which 0:50:0" in result.detail) is bool(gone)


def test_what_meltano_installs_elsewhere_than_we_look_it_may_install_again(meltano_shop: Shop):
    result, lines = run(meltano_shop, "exit 0", "tap-pip", "target")
    assert result.passed
    assert "--no-install" not in calls(lines)[1]


def test_secrets_of_a_pip_url_are_in_no_line_and_no_name(meltano_shop: Shop, monkeypatch, tmp_path):
    monkeypatch.setenv("PYPI_TOKEN", "t0ken-t0ken")
    url = "tap --index-url https://u:p4ssword@pypi.example.com/$PYPI_TOKEN/simple"
    script = f'{INSTALLS}\necho "p4ssword $PYPI_TOKEN"; exit 1'
    told = run(
        with_pip_url(meltano_shop, url), script, "tap-pip", "target", variables=("PYPI_TOKEN",)
    )
    assert any("***** *****" in line for line in told[1])
    names = [str(path) for name in ("cache", "state") for path in (tmp_path / name).rglob("*")]
    for secret in ("t0ken", "p4ssword"):
        assert secret not in repr(told)
        assert secret not in "\n".join(names)


def test_what_runs_share_is_for_this_user_alone(meltano_shop: Shop, tmp_path: Path):
    run(meltano_shop, INSTALLS, "tap-pip", "target")
    shared = tmp_path / "cache" / "meltano" / "shop"
    assert shared.stat().st_mode & 0o077 == 0


# --- streams ----------------------------------------------------------------------------------


def test_declared_streams_of_the_extractors_that_ran_were_moved(meltano_shop: Shop):
    streams = {"tap": ["users"], "tap-hub": ["roles"]}
    result, _ = run(meltano_shop, "", streams=streams)
    assert [(s.extractor, s.name, s.rows) for s in result.facts.streams] == [("tap", "users", None)]


def test_of_an_extractor_that_counts_only_what_it_counted_was_moved(meltano_shop: Shop):
    line = said(metric("orders", 3), string_id="tap", producer=True, consumer=False)
    (meltano_shop.root / "log").write_text(line)
    result, _ = run(meltano_shop, f"cat {meltano_shop.root}/log", streams={"tap": ["users"]})
    assert [(s.extractor, s.name, s.rows) for s in result.facts.streams] == [("tap", "orders", 3)]
