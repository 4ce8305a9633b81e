"""A disk without room, or that takes nothing: a clear error, and a target that is unchanged or complete.

When there is room again the next attempt succeeds, and nobody has to do anything for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataops_dagster.errors import ToolError
from dataops_dagster.folders import NO_ROOM
from dataops_dagster.git import Access
from tests.conftest import Shop
from tests.repositories import git

ROOT = Path(__file__).parent.parent
CALL = "from dataops_dagster.cli import main; main()"
NAMESPACE = ("unshare", "--map-root-user", "--mount")

only = pytest.mark.parametrize


def may_mount() -> bool:
    try:
        tried = subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return tried.returncode == 0


@pytest.fixture
def full_shop(shop: Shop) -> Shop:
    """A dev whose files need room."""
    shop.dev.commit({f"{i}.bin": os.urandom(20_000) for i in range(20)})
    return shop


def tried(shop: Shop, how: str, where: str, room: int) -> dict:
    """Promote in a process of its own, in which there is that little room."""
    script = [sys.executable, "-m", "tests.small_disk", how, where, str(room), str(shop.root)]
    done = subprocess.run(
        [*(NAMESPACE if how == "disk" else ()), *script],
        capture_output=True,
        check=False,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def heals(shop: Shop, found: dict) -> list[dict]:
    """Assert that the answers were clear and the last a promotion; returns the errors."""
    errors = [told for told in found["told"] if "error" in told]
    for told in errors:
        assert told["retryable"], told
        assert told["hint"] == NO_ROOM, told
    assert found["told"][-1]["answer"] in ("Promoted", "NothingToDo"), found
    assert found["told"][-1]["files"] == 24
    assert found["left"] == []
    (tag,) = shop.staging.tags()
    assert git(shop.staging.bare, "rev-parse", f"{tag}^{{commit}}") == shop.staging.head
    assert shop.staging.tree() == shop.dev.tree()
    git(shop.staging.bare, "fsck", "--strict")
    return errors


@pytest.mark.slow
@pytest.mark.skipif(
    not may_mount(), reason="no mount namespaces; files that may not grow are tried below"
)
@only("room", [0, 4, 40, 200], ids="{} kB".format)
@only("where", ["cache", "tmp"])
def test_a_disk_without_room_is_a_clear_error_and_the_next_attempt_with_room_succeeds(
    full_shop: Shop, where, room
):
    errors = heals(full_shop, tried(full_shop, "disk", where, room))
    assert errors or room > 100


@pytest.mark.slow
@only("room", [1, 30], ids="{} kB".format)
@only("where", ["cache", "tmp"])
def test_files_that_may_not_grow_are_a_clear_error_and_the_next_attempt_succeeds(
    full_shop: Shop, where, room
):
    assert heals(full_shop, tried(full_shop, "files", where, room))


@only("unbuffered", ["", "1"], ids=["at its end", "at once"])
@only("mode", [[], ["--json"]], ids=["for people", "for machines"])
def test_an_answer_that_cannot_be_written_is_a_clear_error(shop: Shop, mode, unbuffered):
    if not Path("/dev/full").exists():
        return
    call = [
        sys.executable,
        "-c",
        CALL,
        "--config",
        str(shop.root / "dataops.yaml"),
        "check",
        *mode,
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            call, stdout=full, stderr=subprocess.PIPE, check=False, text=True, cwd=ROOT, env=env
        )
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_whoever_reads_only_the_beginning_of_an_answer_hears_no_complaint(shop: Shop):
    call = f"{sys.executable} -c '{CALL}' --config {shop.root}/dataops.yaml schema | head -c 10"
    done = subprocess.run(call, shell=True, capture_output=True, check=True, text=True, cwd=ROOT)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_a_piece_of_an_object_goes_when_it_is_too_old_to_be_written_still(shop: Shop):
    shop.consider("staging")
    folder = shop.store.folder / "objects" / "fd"
    folder.mkdir(exist_ok=True)
    old, young = folder / "tmp_obj_old", folder / "tmp_obj_young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    dev = shop.project.workspaces["dev"]
    with pytest.raises(ToolError):
        shop.store.bring(Access.of(shop.project, dev), "main", "1" * 40)
    assert young.exists()
    assert not old.exists()
