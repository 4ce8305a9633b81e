"""An installation is made once, whole, and by one run at a time; what nobody uses goes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from dataops_dagster import locks
from dataops_dagster.meltano.needs import Need
from dataops_dagster.platforms import installations

TAP = Need("extractors", "tap", "tap", "tap==1")
TARGET = Need("loaders", "target", "target", "target==1")
OWN = Need("extractors", "own", "own", "-e .")


class Runs:
    """Runs that need plug-ins; what stands for `meltano install` leaves what that leaves."""

    def __init__(self, root: Path) -> None:
        self.root, self.shared = root, root / "shared"
        self.installed: list[list[str]] = []
        self.problem = ""
        self.count = 0

    def link(self, *needs: Need) -> dict[Path, Need]:
        self.count += 1
        self.system = self.root / f"run-{self.count}"
        return installations.lead_to(
            needs, shared=self.shared, system=self.system, paths=(), meltano="/opt/meltano"
        )

    def run(self, *needs: Need, patience: float = 0.0) -> str:
        places = self.link(*needs)
        return installations.complete(
            places,
            shared=self.shared,
            holder=f"run-{self.count}",
            patience=patience,
            install=self.install,
        )

    def install(self, needs, lock) -> str:
        assert lock.descriptors or OWN in needs
        self.installed.append([need.name for need in needs])
        for need in () if self.problem else needs:
            self.make(self.system / need.type / need.folder)
        return self.problem

    def make(self, place: Path) -> None:
        (place / "venv" / "bin").mkdir(parents=True)
        (place / "venv" / "bin" / "python").symlink_to("/bin/sh")
        (place / "venv" / ".meltano_plugin_fingerprint").write_text("a" * 64)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_what_was_installed_once_serves_all_later_runs(runs: Runs):
    assert [runs.run(TAP, TARGET), runs.run(TAP), runs.run(TARGET, TAP)] == ["", "", ""]
    assert runs.installed == [["tap", "target"]]
    assert (runs.system / "extractors" / "tap" / "venv" / "bin" / "python").exists()


def test_only_what_is_missing_is_installed(runs: Runs):
    runs.run(TAP)
    runs.run(TAP, TARGET)
    assert runs.installed == [["tap"], ["target"]]


def test_two_versions_of_a_plug_in_stand_beside_each_other(runs: Runs):
    newer = Need("extractors", "tap", "tap", "tap==2")
    for need in (TAP, newer, TAP, newer):
        runs.run(need)
    assert runs.installed == [["tap"], ["tap"]]


@pytest.mark.parametrize("spoiled", [".meltano_plugin_fingerprint", "bin/python"])
def test_what_is_half_made_is_made_anew(runs: Runs, spoiled: str):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    (place / "venv" / spoiled).unlink()
    (place / "rubbish").touch()
    assert runs.run(TAP) == ""
    assert runs.installed == [["tap"], ["tap"]]
    assert not (place / "rubbish").exists()


def test_a_mark_that_was_cut_off_is_none(runs: Runs):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    (place / "venv" / ".meltano_plugin_fingerprint").write_text("a" * 30)
    runs.run(TAP)
    assert len(runs.installed) == 2


def test_an_installation_that_failed_is_told_and_tried_again_by_the_next_run(runs: Runs):
    runs.problem = "no network"
    assert runs.run(TAP) == "no network"
    runs.problem = ""
    assert runs.run(TAP) == ""
    assert runs.installed == [["tap"], ["tap"]]


def test_what_comes_from_the_projects_own_files_belongs_to_one_run(runs: Runs):
    runs.run(OWN)
    assert not (runs.system / "extractors" / "own").is_symlink()
    runs.run(OWN)
    assert runs.installed == [["own"], ["own"]]
    assert not runs.shared.exists()


def test_what_somebody_else_installs_is_waited_for_and_then_not_installed_again(
    runs: Runs, monkeypatch
):
    (place,) = runs.link(TAP)
    other = contextlib.ExitStack()
    other.enter_context(locks.held([installations._lock_of(place)], "other"))

    def end_other(_seconds: float) -> None:
        runs.make(place)
        other.close()

    monkeypatch.setattr(locks.time, "sleep", end_other)
    assert runs.run(TAP, patience=60) == ""
    assert runs.installed == []


def test_who_installs_for_too_long_is_named(runs: Runs):
    (place,) = runs.link(TAP)
    with locks.held([installations._lock_of(place)], "5b6f0c8e"):
        assert runs.run(TAP) == "Dagster run 5b6f0c8e is still installing them"
    assert runs.installed == []


def test_an_installation_that_was_moved_is_made_anew(runs: Runs):
    runs.run(TAP)
    runs.shared = runs.shared.rename(runs.root / "moved")
    runs.run(TAP)
    assert len(runs.installed) == 2


def age(place: Path, days: int) -> None:
    then = time.time() - days * 86400
    os.utime(place, (then, then))


def test_what_no_run_used_for_thirty_days_is_removed_when_something_is_installed(runs: Runs):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    age(place, 31)
    runs.run(TARGET)
    assert not place.exists()
    assert runs.run(TAP) == ""


def test_what_was_used_lately_is_not_removed(runs: Runs):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    age(place, 31)
    runs.run(TAP)
    runs.run(TARGET)
    assert place.exists()


def test_what_is_being_made_is_not_removed(runs: Runs):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    age(place, 31)
    with locks.held([installations._lock_of(place)], "other"):
        runs.run(TARGET)
    assert place.exists()


def test_what_is_used_just_before_it_would_be_removed_stays(runs: Runs, monkeypatch):
    runs.run(TAP)
    (place,) = runs.link(TAP)
    age(place, 31)
    held = locks.held

    def use_and_hold(paths, holder, **more):
        if holder == "pruning":
            installations.are_whole([place])
        return held(paths, holder, **more)

    monkeypatch.setattr(locks, "held", use_and_hold)
    runs.run(TARGET)
    assert place.exists()
