"""A lock has one holder: a process of this machine, or a program that it started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dataops_dagster.locks import Busy, Locked, held

pytestmark = pytest.mark.slow

HOLD = """
import sys, time
from pathlib import Path
from dataops_dagster import locks, process
with locks.held([Path(sys.argv[1])], "run-1") as lock:
    print("held", flush=True)
    command = ["sh", "-c", "trap '' TERM; echo $PPID; sleep 60 & wait; sleep 1"]
    process.run(command, env={}, deadline=60, on_line=lambda line: print(line, flush=True),
                keep_open=lock.descriptors)
"""


def test_who_comes_second_is_told_who_holds_it(tmp_path: Path):
    path = tmp_path / "made" / "lock"
    with held([path], "run-1") as first, held([path], "run-2") as second:
        assert isinstance(first, Locked)
        assert second == Busy(path, "run-1")


def test_a_lock_is_free_after_its_block(tmp_path: Path):
    for holder in ("a much longer name than the next", "run-2"):
        with held([tmp_path / "lock"], holder) as lock:
            assert isinstance(lock, Locked)
    with held([tmp_path / "lock"], "run-3"), held([tmp_path / "lock"], "run-4") as busy:
        assert busy == Busy(tmp_path / "lock", "run-3")


def test_a_lock_that_is_named_twice_is_held_once(tmp_path: Path):
    with held([tmp_path / "lock", tmp_path / "lock"], "run-1") as lock:
        assert isinstance(lock, Locked)
        assert len(lock.descriptors) == 1


def test_of_several_locks_all_are_held_or_none(tmp_path: Path):
    a, b, c = (tmp_path / name for name in "abc")
    with held([b], "run-1"):
        with held([c, b, a], "run-2") as lock:
            assert lock == Busy(b, "run-1")
        with held([a, c], "run-3") as lock:
            assert isinstance(lock, Locked)


def test_a_lock_outlives_its_killed_holder_as_long_as_its_program_runs(tmp_path: Path):
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    with holder, holder.stdout as said:
        assert said.readline() == "held\n"
        said.readline()  # the program runs
        holder.kill()
        holder.wait()
        with held([path], "run-2") as lock:
            assert lock == Busy(path, "run-1")
        said.read()  # until its end
    for _ in range(200):
        with held([path], "run-3") as lock:
            if isinstance(lock, Locked):
                return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("nobody is left to hold it")
