"""A platform's program gets the exact commit, what it may know, and nothing else; its code decides."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

import dataops_dagster
from dataops_dagster import execution, process
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.platforms import PLATFORMS, Result, Task
from dataops_dagster.settings_steps import STEPS, CommandStep, MeltanoStep
from tests.conftest import Shop

DEMO_PROJECT = Path(dataops_dagster.__file__).parent / "demo" / "project"
RUN_ID = "5b6f0c8e-4f0b-4d0b-9a6e-3f1d6f1f2c11"


def command(script: str, *variables: str, seconds: float = 20) -> CommandStep:
    return CommandStep(
        platform="command",
        command=("sh", "-c", script),
        variables=variables,
        deadline=timedelta(seconds=seconds),
    )


def execute(shop: Shop, step, *, commit: str | None = None) -> tuple[Result, Task, list[str]]:
    """Run a step of staging; returns its result, its task and its lines."""
    lines: list[str] = []
    staging = shop.project.workspaces["staging"]
    result, task = execution.execute(
        shop.project,
        staging,
        step,
        commit=execution.pin(shop.project, staging, commit, store=shop.store),
        run_id=RUN_ID,
        store=shop.store,
        on_line=lines.append,
    )
    return result, task, lines


@pytest.fixture
def folders(tmp_path: Path, monkeypatch) -> Path:
    """Return where private folders are made; what stands there was left behind."""
    folder = tmp_path / "private"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_every_platform_that_can_be_configured_can_be_executed():
    names = {step.model_fields["platform"].annotation.__args__[0] for step in STEPS.values()}
    assert set(PLATFORMS) == names == set(STEPS)


# --- command ----------------------------------------------------------------------------------


def test_a_program_gets_the_files_of_the_exact_commit_not_of_the_head(shop: Shop):
    proven = shop.staging.commit({"a.txt": "proven\n", "gone.txt": "x\n"})
    shop.staging.commit({"a.txt": "newer\n", "gone.txt": None, "new.txt": "x\n"})
    result, task, lines = execute(shop, command("cat a.txt; ls -A"), commit=proven)
    assert result.passed
    assert lines == ["proven", "README.md", "a.txt", "gone.txt"]
    assert (task.commit, task.tree) == (proven, shop.staging.tree(proven))


def test_nothing_of_gits_is_among_the_files_or_around_them(shop: Shop):
    script = "ls -A . ..; git rev-parse --git-dir 2>&1; env | grep ^GIT_; true"
    _, _, lines = execute(shop, command(script))
    assert not [line for line in lines if line.startswith((".git", "GIT_"))]
    assert any("not a git repository" in line for line in lines)


def test_the_folder_is_private_and_gone_afterwards(shop: Shop, folders: Path):
    script = "ls -ld .. | cut -c1-10; pwd; mkdir -p deep/er; touch deep/er/x; chmod 0 deep/er"
    result, task, lines = execute(shop, command(script))
    assert result.passed
    assert lines == ["drwx------", str(task.files)]
    assert task.folder.parent == folders
    assert not list(folders.iterdir())


@pytest.mark.parametrize("script", ["exit 1", "kill -KILL $$", "touch ../left; sleep 60"])
def test_the_folder_is_gone_however_the_program_ended(shop: Shop, folders: Path, script):
    execute(shop, command(script, seconds=0.5))
    assert not list(folders.iterdir())


def test_the_folder_and_the_program_are_gone_when_its_listener_fails(shop: Shop, folders: Path):
    def on_line(line: str) -> None:
        raise RuntimeError(line)

    step = command("echo $$; sleep 60")
    staging = shop.project.workspaces["staging"]
    head = execution.pin(shop.project, staging, None, store=shop.store)
    with pytest.raises(RuntimeError) as caught:
        execution.execute(
            shop.project,
            staging,
            step,
            commit=head,
            run_id=RUN_ID,
            store=shop.store,
            on_line=on_line,
        )
    assert not list(folders.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


def test_a_program_is_told_what_it_works_for(shop: Shop):
    _, task, lines = execute(shop, command("env | grep ^DATAOPS_ | sort"))
    assert lines == [
        f"DATAOPS_COMMIT={shop.staging.head}",
        "DATAOPS_ENVIRONMENT=staging",
        "DATAOPS_PROJECT=shop",
        f"DATAOPS_RUN_ID={RUN_ID}",
        f"DATAOPS_TREE={task.tree}",
        "DATAOPS_WORKSPACE=staging",
    ]


def test_a_program_has_a_home_of_its_own(shop: Shop):
    _, task, lines = execute(shop, command('echo "$HOME"; ls -A "$HOME"'))
    assert lines == [str(task.home)]


def test_a_variable_that_is_not_listed_is_not_seen(shop: Shop, monkeypatch):
    monkeypatch.setenv("LISTED", "visible")
    monkeypatch.setenv("PROD_PASSWORD", "hunter2")
    monkeypatch.setenv("DAGSTER_HOME", "/somewhere")
    _, _, lines = execute(shop, command("env", "LISTED"))
    names = {line.partition("=")[0] for line in lines}
    allowed = {
        *process.NEEDED_BY_PROGRAMS,
        "LC_ALL",
        "HOME",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "LISTED",
    }
    assert {name for name in names if not name.startswith("DATAOPS_")} <= allowed
    assert "LISTED" in names


def test_a_variable_that_is_listed_but_not_set_is_a_mistake_of_the_user(shop: Shop, tmp_path):
    step = command(f"touch {tmp_path}/ran", "NOT_SET_ANYWHERE")
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE is to be passed on, but is not set"):
        execute(shop, step)
    assert not (tmp_path / "ran").exists()


def test_a_listed_variable_cannot_replace_what_we_tell(shop: Shop, monkeypatch):
    monkeypatch.setenv("DATAOPS_COMMIT", "forged")
    monkeypatch.setenv("HOME", "/forged")
    step = command('echo "$DATAOPS_COMMIT $HOME"', "DATAOPS_COMMIT", "HOME")
    _, task, lines = execute(shop, step)
    assert lines == [f"{task.commit} {task.home}"]


def test_values_of_listed_variables_are_in_no_line_and_no_detail(shop: Shop, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    script = 'echo "token=$TOKEN"; echo "x${TOKEN}x" >&2; exit 1'
    result, _, lines = execute(shop, command(script, "TOKEN"))
    assert lines == ["token=*****", "x*****x"]
    assert "hunter2" not in repr(result)


def test_a_word_that_stands_everywhere_is_masked_nowhere(shop: Shop, monkeypatch):
    """Else a variable such as UV_SYSTEM_CERTS would make every log unreadable."""
    monkeypatch.setenv("A_SWITCH", "true")
    _, _, lines = execute(shop, command("echo it is true", "A_SWITCH"))
    assert "it is true" in lines


def test_lines_cannot_steer_who_reads_them(shop: Shop):
    result, _, lines = execute(shop, command(r"printf '\033[31mred\033]0;t\007\n'; exit 1"))
    assert lines == ["[31mred]0;t"]
    assert result.detail.isprintable()


def test_the_exit_code_decides_and_not_what_is_said(shop: Shop):
    good, _, _ = execute(shop, command("echo ERROR: everything failed >&2; exit 0"))
    bad, _, _ = execute(shop, command("echo SUCCESS; exit 3"))
    assert (good.passed, good.detail) == (True, "ended with exit code 0")
    assert (bad.passed, bad.detail) == (False, "ended with exit code 3: SUCCESS")


def test_the_detail_of_a_failure_is_the_last_lines(shop: Shop):
    result, _, _ = execute(shop, command("seq 10; printf '\\n  \\n'; exit 1"))
    assert result.detail == "ended with exit code 1: 8 / 9 / 10"


def test_a_signal_is_a_failure_in_words(shop: Shop):
    result, _, _ = execute(shop, command("kill -KILL $$"))
    assert (result.passed, result.detail) == (False, f"was ended by signal {signal.SIGKILL:d}")


def test_the_deadline_is_a_failure_in_words_even_of_a_program_that_then_ends_well(shop: Shop):
    script = "trap 'exit 0' TERM; echo working; while :; do sleep 0.05; done"
    result, _, _ = execute(shop, command(script, seconds=0.5))
    assert not result.passed
    assert result.detail.startswith("was ended at its deadline of 0:00:00.500000: working")


def test_what_a_program_left_in_the_background_ends_with_it(shop: Shop):
    _, _, lines = execute(shop, command("sleep 60 & echo $!"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(lines[0]), 0)
        status = Path(f"/proc/{lines[0]}/stat").read_text()
        assert status.rpartition(")")[2].split()[0] == "Z"


def test_a_program_that_is_not_there_is_no_answer(shop: Shop):
    step = CommandStep(platform="command", command=("no-such-program-here",))
    with pytest.raises(ToolError, match="failed"):
        execute(shop, step)


def test_a_program_of_the_repository_may_be_executed(empty_shop: Shop):
    program = empty_shop.staging.clone / "go"
    program.write_text("#!/bin/sh\necho gone\n")
    program.chmod(0o755)
    empty_shop.staging.commit({})
    step = CommandStep(platform="command", command=("./go",))
    assert execute(empty_shop, step)[2] == ["gone"]


def test_a_program_cannot_change_what_is_promoted(shop: Shop):
    head, tree = shop.staging.head, shop.staging.tree()
    execute(shop, command("rm -rf README.md; echo evil > pipeline.yml; git init . ; true"))
    assert (shop.staging.head, shop.staging.tree()) == (head, tree)
    assert execute(shop, command("cat README.md; ls"))[2] == ["# staging", "README.md"]


# --- meltano ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def meltano(meltano_command) -> str:
    return meltano_command


@pytest.fixture
def meltano_shop(empty_shop: Shop) -> Shop:
    """Staging holds the demo's Meltano project."""
    shutil.copytree(DEMO_PROJECT, empty_shop.staging.clone, dirs_exist_ok=True)
    empty_shop.staging.commit({}, "The demo's project")
    return empty_shop


def load_users(meltano: str, *variables: str) -> MeltanoStep:
    return MeltanoStep(
        platform="meltano",
        run=("load-users",),
        executable=meltano,
        variables=variables,
        deadline=timedelta(minutes=3),
    )


@pytest.mark.slow
def test_meltano_runs_a_job_in_the_workspaces_environment(
    meltano_shop: Shop, meltano, folders, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("MELTANO_ENVIRONMENT", "prod")
    monkeypatch.setenv("MELTANO_PROJECT_ROOT", str(elsewhere))
    monkeypatch.setenv("TAP_AUTH0_CLIENT_ID", "from-our-environment")
    result, _, lines = execute(meltano_shop, load_users(meltano))
    assert result.passed, lines
    assert any("as staging-8hTz31" in line for line in lines)
    assert any("loaded" in line and "users" in line for line in lines)
    assert not any("prod-c04LxW" in line or "from-our" in line for line in lines)
    assert not any(line.startswith("{") for line in lines)
    assert "--environment=staging" in result.ran
    assert not list(elsewhere.iterdir())
    assert not list(folders.iterdir())
    kept = tmp_path / "state" / "shop" / "staging"
    assert {p.name for p in kept.iterdir()} == {"locks", "meltano.db"}
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_own_message_of_a_plug_in_that_fails_is_the_detail(meltano_shop: Shop, meltano):
    meltano_shop.staging.commit({"data/users.jsonl": None})
    result, _, lines = execute(meltano_shop, load_users(meltano))
    assert not result.passed, lines
    assert "the users file data/users.jsonl does not exist" in result.detail


@pytest.mark.slow
def test_a_job_that_is_not_there_is_a_failure_that_names_it(meltano_shop: Shop, meltano):
    step = load_users(meltano).model_copy(update={"run": ("load-nothing",)})
    result, _, _ = execute(meltano_shop, step)
    assert not result.passed
    assert "load-nothing" in result.detail


@pytest.mark.slow
def test_meltano_writes_into_its_own_folders_only(meltano_shop: Shop, meltano, tmp_path):
    seen = tmp_path / "seen"
    script = f'"$@"; code=$?; find . -newer ../start -type f > {seen}; ls -A .. > {seen}.around; exit $code'
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\ntouch ../start\nsleep 0.02\nset -- {meltano} "$@"\n{script}\n')
    wrapper.chmod(0o755)
    result, _, lines = execute(meltano_shop, load_users(str(wrapper)))
    assert result.passed, lines
    assert seen.read_text() == ""
    around = set(Path(f"{seen}.around").read_text().split())
    assert around == {"files", "home", "meltano", "start"}


def test_what_json_hides_is_neither_a_leak_nor_a_control_character(shop: Shop, monkeypatch):
    monkeypatch.setenv("SECRET", 'pa"ss\\word')
    script = (
        r"""printf '%s\n' '{"event": "it is pa\"ss\\word \u001b[31m", "name": "tap"}'; exit 1"""
    )
    (shop.root / "meltano").write_text(f"#!/bin/sh\n{script}\n")
    (shop.root / "meltano").chmod(0o755)
    step = MeltanoStep(
        platform="meltano",
        run=("load",),
        executable=str(shop.root / "meltano"),
        variables=("SECRET",),
    )
    result, _, lines = execute(shop, step)
    assert lines == ["tap: it is ***** [31m"]
    assert result.detail == "ended with exit code 1: tap: it is ***** [31m"


def test_of_a_flood_the_beginning_and_the_end_are_told(shop: Shop):
    result, _, lines = execute(shop, command("seq 20000; exit 1"))
    assert lines[:2] == ["1", "2"]
    assert len(lines) < 6000
    assert "more than 5000 lines" in lines[5000]
    assert lines[-3:] == ["19998", "19999", "20000"]
    assert result.detail.endswith("19998 / 19999 / 20000")
