"""What we began at a workspace of Tinybird's and did not see the end of; kept on this machine.

A lost file costs nothing but an explanation: what it named is then taken for somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataops_dagster.errors import ToolError
from dataops_dagster.folders import state_folder
from dataops_dagster.locks import Busy, held
from dataops_dagster.settings_tinybird import Tinybird


@dataclass(frozen=True)
class Entry:
    """What is known of the last deployment of ours into one workspace.

    `begun` is the commit of one that has not ended, empty when all did; `deployment` its id at
    Tinybird, as soon as it is known; `replaced` is the one that was live before. `names` are the
    resources that deployments of ours brought.
    """

    begun: str = ""
    deployment: str = ""
    names: tuple[str, ...] = ()
    replaced: str = ""


@dataclass(frozen=True)
class Journal:
    """The entry of one workspace, by its host and id."""

    path: Path

    @classmethod
    def of(cls, host: str, workspace_id: str) -> Journal:
        """Return a workspace's journal."""
        name = hashlib.sha256(f"{host} {workspace_id}".encode()).hexdigest()[:32]
        return cls(state_folder() / "tinybird" / f"{name}.json")

    @contextlib.contextmanager
    def locked(self, holder: str) -> Iterator[None]:
        """Keep every other deployment of this machine away from the workspace.

        `holder` says to them what is under way. Raises `ToolError` when one is there already.
        """
        with held([self.path.with_suffix(".lock")], holder) as lock:
            if isinstance(lock, Busy):
                problem = f"{lock.holder} is under way in this workspace, on this machine"
                raise ToolError("tinybird", None, problem, retryable=True)
            yield

    def read(self) -> Entry:
        """Return the entry; an empty one when there is none that can be read."""
        told = kept(self.path)
        try:
            return Entry(
                str(told["begun"]),
                str(told["deployment"]),
                tuple(map(str, told["names"])),
                str(told.get("replaced", "")),
            )
        except (KeyError, TypeError):
            return Entry()

    def forget(self) -> None:
        """Remove the entry: its workspace is gone."""
        for path in (self.path, self.path.with_suffix(".lock")):
            path.unlink(missing_ok=True)

    def write(self, entry: Entry) -> None:
        """Keep an entry, whole or not at all."""
        keep(self.path, asdict(entry))


@dataclass(frozen=True)
class Record:
    """Which workspace of a name is to go, from when that is decided until the new one is deployed."""

    path: Path

    @classmethod
    def of(cls, settings: Tinybird) -> Record:
        """Return the record of a configured workspace."""
        name = hashlib.sha256("\n".join(settings.place).encode()).hexdigest()[:32]
        return cls(state_folder() / "tinybird" / f"recreate-{name}.json")

    @property
    def old(self) -> str:
        """The id of the one that is to go; empty when none is."""
        return str(kept(self.path).get("old") or "")

    def begin(self, old: str) -> None:
        """Remember which one is to go."""
        keep(self.path, {"old": old})

    def end(self) -> None:
        """Forget it: the new one is deployed."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other recreation of this machine away; raises `ToolError` when there is one."""
        with held([self.path.with_suffix(".lock")], "a recreation") as lock:
            if isinstance(lock, Busy):
                problem = "it is being recreated already, on this machine"
                raise ToolError("tinybird", None, problem, retryable=True)
            yield


def kept(path: Path) -> Mapping[str, Any]:
    """Return a document that was kept; an empty one when there is none that can be read."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def keep(path: Path, document: Mapping[str, Any]) -> None:
    """Keep a document, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(document))
    draft.chmod(0o600)
    draft.replace(path)
