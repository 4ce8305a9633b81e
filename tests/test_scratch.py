"""Temporary folders go with their block, and what a killed process left goes with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataops_dagster import scratch


@pytest.fixture
def parent(tmp_path: Path, monkeypatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


HOLD = """
import sys, tempfile
from dataops_dagster import scratch
tempfile.tempdir = sys.argv[1]
with scratch.folder("prod") as folder:
    (folder / "files").mkdir()
    (folder / "files" / "secret").write_text("sesame")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(parent: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A folder that another process works in."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield Path(process.stdout.readline().strip()), process
        process.kill()


def test_a_folder_is_this_users_alone_and_goes_with_its_block(parent: Path):
    with scratch.folder("prod") as folder:
        assert folder.parent == parent
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(parent.iterdir()) == []


def test_a_folder_goes_also_when_a_program_made_a_part_of_it_unwritable(parent: Path):
    with scratch.folder("prod") as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        (folder / "a" / "elsewhere").symlink_to(parent)
        (folder / "a" / "b").chmod(0)
        (folder / "a").chmod(0o500)
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_folder(parent: Path):
    with held_elsewhere(parent) as (left, process):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (left / "files" / "secret").exists()
        with scratch.folder("prod") as folder:
            assert list(parent.iterdir()) == [folder]


def test_a_folder_that_another_process_works_in_stays(parent: Path):
    with held_elsewhere(parent) as (theirs, _), scratch.folder("prod"), scratch.folder("prod"):
        assert (theirs / "files" / "secret").exists()


def test_nothing_is_removed_that_only_looks_like_ours(parent: Path, tmp_path: Path):
    target = tmp_path / "precious"
    target.mkdir()
    (parent / "dataops-scratch-project").mkdir()  # a person's
    (parent / "dataops-prod-12345678").mkdir()
    (parent / "dataops-scratch-prod-abcdefgh").symlink_to(target)
    with scratch.folder("prod"):
        pass
    assert len(list(parent.iterdir())) == 3
    assert target.is_dir()
