"""Meltano's plug-ins, each installed once by what it installs and shared by the runs of all commits.

Never changes one that is whole; who installs is said by the caller.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from dataops_dagster import locks
from dataops_dagster.locks import Busy, Locked
from dataops_dagster.meltano.needs import Need

Install = Callable[[Iterable[Need], Locked], str]
"""Installs plug-ins while locks are held; returns what went wrong, or nothing."""

_UNUSED_SECONDS = 30 * 24 * 3600.0
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def lead_to(
    needs: Iterable[Need], *, shared: Path, system: Path, paths: Collection[str], meltano: str
) -> dict[Path, Need]:
    """Make `system`, Meltano's folder of one run, lead to the installations; returns these.

    They are in `shared`, except for what a project installs from its own files, its `paths`: that
    belongs to `system` and goes with it.
    """
    places = {}
    for need in needs:
        place = system / need.type / need.folder
        if need.is_shared(paths):
            # The folder counts too: an installation that was moved does not work.
            link, place = place, shared / need.key(meltano, str(shared))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place)
        places[place] = need
    return places


def complete(
    places: Mapping[Path, Need], *, shared: Path, holder: str, patience: float, install: Install
) -> str:
    """Make the installations that are missing; returns why that cannot be done, or nothing.

    One that somebody else is making is waited for, up to `patience` seconds.
    """
    if are_whole(places):
        return ""
    own = [place for place in places if place.parent == shared]
    with locks.held(map(_lock_of, own), holder, patience=patience) as lock:
        if isinstance(lock, Busy):
            return f"Dagster run {lock.holder} is still installing them"
        # Another run may have made one while we waited.
        missing = {place: need for place, need in places.items() if not are_whole([place])}
        for place in missing:
            shutil.rmtree(place, ignore_errors=True)  # half made by somebody who was killed
            place.mkdir(parents=True)
        problem = install(missing.values(), lock) if missing else ""
    _prune(shared, keep=own)
    return problem


def are_whole(places: Iterable[Path]) -> bool:
    """Say whether Meltano came to the end of all of them; notes that they are used."""
    return all(_is_whole(place) for place in places)


def _is_whole(place: Path) -> bool:
    try:
        mark = (place / "venv" / ".meltano_plugin_fingerprint").read_text()  # is written last
        place.touch()
    except OSError:
        return False
    return bool(_FINGERPRINT.fullmatch(mark)) and (place / "venv" / "bin" / "python").exists()


def _lock_of(place: Path) -> Path:
    return place.with_name(place.name + ".lock")


def _prune(shared: Path, keep: Collection[Path]) -> None:
    """Remove what no run has used for thirty days."""
    oldest = time.time() - _UNUSED_SECONDS
    for place in shared.iterdir() if shared.exists() else ():
        if place.is_dir() and place not in keep:
            with locks.held([_lock_of(place)], "pruning") as lock:
                # Its age counts under the lock only: somebody else may just have made or removed it.
                if isinstance(lock, Locked) and place.is_dir() and place.stat().st_mtime < oldest:
                    shutil.rmtree(place, ignore_errors=True)
