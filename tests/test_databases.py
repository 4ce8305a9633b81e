"""Dagster's database is locked for a while: what was done stands, and what was not is done later."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dataops_dagster import clock, execution, promotion
from dataops_dagster.cli import main
from dataops_dagster.orchestration import deployments
from tests.conftest import Shop
from tests.dagster_shop import DagsterShop
from tests.repositories import git

pytestmark = pytest.mark.slow

HOLD = """
import sqlite3, sys, time
bases = [sqlite3.connect(path, timeout=60, isolation_level=None) for path in sys.argv[2:]]
for base in bases:
    base.execute("begin exclusive")
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""
SHORT, LONG = 0.5, 9.0
"""Seconds: less and more than what a writer waits for a lock: five, and in newer Dagsters a minute."""

PATIENCE = "dagster._core.storage.event_log.sqlite.sqlite_event_log.SQLITE_BUSY_TIMEOUT_SECONDS"


@contextlib.contextmanager
def locked(home: Path, seconds: float) -> Iterator[None]:
    """Let another process hold the locks of all databases, for so long at the most."""
    paths = [str(path) for path in home.rglob("*.db")]
    command = [sys.executable, "-c", HOLD, str(seconds), *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.wait()


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(PATIENCE, 2, raising=False)
    return folder


@pytest.fixture
def dagster_shop(shop: Shop, home: Path) -> Iterator[DagsterShop]:
    with dg.DagsterInstance.get() as instance:
        assert instance.root_directory == str(home)
        yield DagsterShop(shop, instance)


ACTS = {
    "run staging": (execution, "execute"),
    "promote prod": (promotion, "publish"),
    "deploy prod": (execution, "execute"),
}


def after(act: Callable[..., object], then: Callable[[], object]) -> Callable[..., object]:
    """Return what does something, and then something else, the first time that it is called."""
    left = [then]

    def both(*given: object, **more: object) -> object:
        done = act(*given, **more)
        if left:
            left.pop()()
        return done

    return both


@pytest.mark.parametrize(
    ("act", "seconds"), [("promote prod", SHORT), *((act, LONG) for act in ACTS)]
)
def test_a_database_that_is_locked_when_work_is_done_loses_nothing_and_doubles_nothing(
    dagster_shop: DagsterShop, home, monkeypatch, *, act, seconds
):
    dagster, shop = dagster_shop, dagster_shop.shop
    with contextlib.ExitStack() as stack, monkeypatch.context() as patched:
        where, name = ACTS[act]
        lock = lambda: stack.enter_context(locked(home, seconds))  # noqa: E731
        ended = ""
        while not ended and (requests := dagster.ask()):
            for request in requests:
                if not str(request.run_key).startswith(act):
                    dagster.launch(request)
                    continue
                patched.setattr(where, name, after(getattr(where, name), lock))
                try:
                    ended = "well" if dagster.launch(request).success else "with a failure"
                except Exception as error:  # noqa: BLE001  # a worker that dies dies of anything
                    ended = f"by {error!r}"
    print(f"the run ended {ended}")
    assert ended == "well" or (ended and seconds == LONG)
    gc.collect()  # a worker of its own would let go of its locks now
    # The worker is dead, as the machine knows after a while; nobody has to do anything.
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(hours=2))
    for _ in range(5):
        dagster.tick("heads_shop")
        dagster.settle()
    assert shop.prod.tree() == shop.staging.tree() == shop.dev.tree()
    assert len(shop.prod.tags()) == len(shop.staging.tags()) == 1
    assert deployments.deployed(dagster.instance, "shop", "prod") == shop.prod.head
    for workspace in (shop.staging, shop.prod):
        subjects = git(workspace.bare, "log", "--first-parent", "--format=%s", "main").splitlines()
        assert sum(subject.startswith("Promote") for subject in subjects) == 1
        assert dagster.data_version("shop", workspace.bare.stem) == workspace.head


def test_a_look_while_the_database_is_locked_is_healed_by_the_next(dagster_shop, home):
    with locked(home, LONG):
        with contextlib.suppress(Exception):
            dagster_shop.tick("heads_shop")
        with contextlib.suppress(Exception):
            dagster_shop.tick("gates_shop")
    dagster_shop.settle()
    assert dagster_shop.shop.prod.tree() == dagster_shop.shop.dev.tree()


def dataops(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_a_command_while_the_database_is_locked_says_so_in_words_or_works(dagster_shop, home):
    settle_until_run(dagster_shop)
    hold = ("hold", "prod", "--reason", "audit")
    with locked(home, LONG):
        refused = dataops(*hold)
        looked = [dataops(*words) for words in (("why", "prod"), ("status",), ("plan", "prod"))]
    assert isinstance(refused.exception, SystemExit), refused.exception
    assert refused.exit_code == 3
    assert "database is locked" in refused.output
    assert "dagster.yaml" in refused.output
    for done in looked:  # reading waits for nobody
        assert done.exit_code == 0, done.output
    assert dataops(*hold).exit_code == 0
    assert dagster_shop.settle() == []
    assert dagster_shop.shop.prod.tags() == []


def settle_until_run(dagster: DagsterShop) -> None:
    """Let staging be promoted and run, and ask for nothing more."""
    for _ in range(2):
        for request in dagster.ask():
            dagster.launch(request)
