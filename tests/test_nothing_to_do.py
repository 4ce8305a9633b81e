"""Nothing to do costs nothing that stays, however often it is asked: memory, descriptors, disk, rows."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import config
from dataops_dagster.model import NothingToDo
from tests.conftest import SHOP, Shop
from tests.dagster_shop import DagsterShop
from tests.repositories import git

pytestmark = pytest.mark.slow

TIMES, WARM = 1000, 50
MOST_KB = 4096
"""What memory may grow by over all of them: 4 KB each would be a leak that a year's looks notice."""


@dataclass(frozen=True)
class Used:
    """What this process holds on to."""

    descriptors: int
    children: tuple[str, ...]
    threads: int
    temporary: frozenset[str]

    @classmethod
    def now(cls, temporary: Path) -> Used:
        """Look it up."""
        gc.collect()
        tasks = list(Path("/proc/self/task").iterdir())
        children = [(task / "children").read_text() for task in tasks]
        return cls(
            len(list(Path("/proc/self/fd").iterdir())),
            tuple("".join(children).split()),
            len(tasks),
            frozenset(str(path) for path in temporary.rglob("*")),
        )


def resident_kb() -> int:
    """Return how much memory this process has, in KB."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def contents(*folders: Path) -> dict[str, bytes]:
    """Return all files below folders, byte for byte."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stays_flat(act: Callable[[], object], temporary: Path, *, times: int = TIMES) -> None:
    """Do it again and again, and see that nothing has grown."""
    for _ in range(WARM):
        act()
    before, begin = Used.now(temporary), resident_kb()
    for _ in range(times):
        act()
    assert Used.now(temporary) == before
    assert resident_kb() - begin < MOST_KB


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of this test alone."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.mark.parametrize(("way", "times"), [("file", TIMES), ("http", TIMES // 5)])
def test_a_thousand_promotions_of_nothing_leave_all_as_it_was(
    promoted_shop: Shop, temporary: Path, smart_http, *, way, times
):
    shop = promoted_shop
    if way == "http":
        url = smart_http(shop.root).url
        text = SHOP.replace("[file]", "[http]").replace("repository: ", f"repository: {url}/")
        (shop.root / "dataops.yaml").write_text(text)
        shop.project = config.load(shop.root / "dataops.yaml")

    def promote() -> None:
        assert isinstance(shop.promote("prod"), NothingToDo)

    promote()
    kept = [shop.prod.bare, shop.staging.bare, shop.store.folder]
    before = contents(*kept), git(shop.prod.bare, "for-each-ref")
    stays_flat(promote, temporary, times=times)
    assert (contents(*kept), git(shop.prod.bare, "for-each-ref")) == before


# --- in Dagster -----------------------------------------------------------------------------------


@pytest.fixture
def settled(shop: Shop, tmp_path: Path) -> Iterator[DagsterShop]:
    """Everything has happened, in an instance with files."""
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster")) as instance:
        made = DagsterShop(shop, instance)
        made.settle()
        yield made


def rows(home: Path) -> dict[str, int]:
    """Count the rows of each table of each database of an instance."""
    found = {}
    for path in sorted(home.rglob("*.db")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            tables = base.execute("select name from sqlite_master where type = 'table'").fetchall()
            for (table,) in tables:
                (count,) = base.execute(f'select count(*) from "{table}"').fetchone()
                found[f"{path.relative_to(home)} {table}"] = count
    return found


def test_a_thousand_looks_at_nothing_due_write_no_row_and_ask_for_nothing(
    settled: DagsterShop, tmp_path: Path, temporary: Path
):
    sensors = {name: settled.defs.get_sensor_def(f"{name}_shop") for name in ("heads", "gates")}

    def look(name: str = "gates") -> None:
        with dg.build_sensor_context(instance=settled.instance) as context:
            found = sensors[name](context)
        assert not found.run_requests
        assert not found.asset_events

    look("heads")
    before = rows(tmp_path / "dagster")
    assert sum(before.values()) > 100
    stays_flat(look, temporary)
    stays_flat(lambda: look("heads"), temporary, times=TIMES // 10)
    assert rows(tmp_path / "dagster") == before
