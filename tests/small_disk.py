"""A promotion on a disk that has no room, or takes nothing: run in a process of its own.

`python -m tests.small_disk HOW WHERE ROOM FOLDER` promotes dev into the staging of the shop in
FOLDER, with the caches (WHERE is `cache`) or what is there for a moment (`tmp`) on a disk of ROOM
kilobytes, then once more with room. HOW is `disk` (within a mount namespace) or `files`: no file may
be larger. Prints a JSON list of what each attempt came to.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from dataops_dagster.errors import DataOpsError
from dataops_dagster.execution import pin, prepared
from dataops_dagster.folders import cache_folder
from dataops_dagster.store import Store
from tests.conftest import Shop, shop_at

READ_ONLY = 0


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def attempt(shop: Shop) -> dict[str, object]:
    """Run dev, and promote it into staging; only errors of ours are answers."""
    try:
        dev = shop.project.workspaces["dev"]
        commit = pin(shop.project, dev, None, store=shop.store)
        with prepared(shop.project, dev, commit=commit, run_id="1", store=shop.store) as task:
            files = len(list(task.files.iterdir()))
        answer = type(shop.promote("staging")).__name__
    except DataOpsError as error:
        retryable, hint = getattr(error, "retryable", None), getattr(error, "hint", "")
        return {"error": str(error), "retryable": retryable, "hint": hint}
    return {"answer": answer, "files": files}


def main(how: str, where: str, room: int, root: Path) -> None:
    disk = root / "disk"
    disk.mkdir()
    if how == "disk":
        mount(disk, f"size={room or 50_000}k")
    if where == "tmp":
        tempfile.tempdir = os.environ["TMPDIR"] = str(disk)
    else:
        os.environ["DATAOPS_CACHE_DIR"] = str(disk / "cache")
    shop = shop_at(root)
    shop.store = Store(cache_folder(), "shop")
    if how == "files":
        resource.setrlimit(resource.RLIMIT_FSIZE, (room * 1000, resource.RLIM_INFINITY))
    elif room == READ_ONLY:
        mount(disk, "remount,ro")
    told = [attempt(shop), attempt(shop)]
    if how == "files":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    else:
        mount(disk, "remount,rw,size=50m")
    told.append(attempt(shop))
    # A single object that broke off is left to the next sweep.
    left = [
        path
        for name in ("**/tmp_pack*", "**/tmp_idx*", "**/making-*", "dataops-*")
        for path in disk.glob(name)
    ]
    print(json.dumps({"told": told, "left": [str(path.relative_to(disk)) for path in left]}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
