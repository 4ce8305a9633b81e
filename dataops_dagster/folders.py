"""Where this machine keeps our caches and the state of tools that need some."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the folder of caches; deleting it is harmless. `DATAOPS_CACHE_DIR` moves it."""
    given = os.environ.get("DATAOPS_CACHE_DIR")
    return Path(given) if given else platformdirs.user_cache_path("dataops_dagster")


def state_folder() -> Path:
    """Return the folder of tools' own state between runs. `DATAOPS_STATE_DIR` moves it."""
    given = os.environ.get("DATAOPS_STATE_DIR")
    return Path(given) if given else platformdirs.user_state_path("dataops_dagster")
