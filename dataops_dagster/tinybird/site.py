"""One workspace at Tinybird, made ready to be worked on: client, tb, data project, journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dataops_dagster.errors import DataOpsError
from dataops_dagster.settings_tinybird import Tinybird
from dataops_dagster.tinybird import guard, resources
from dataops_dagster.tinybird.client import Client, secret
from dataops_dagster.tinybird.command import TOKEN, Tb
from dataops_dagster.tinybird.journal import Journal
from dataops_dagster.tinybird.model import Identity, Listed, Refusal
from dataops_dagster.tinybird.resources import DataProject


@dataclass(frozen=True)
class Order:
    """What is wanted: one commit's data project in one workspace.

    `target` is the workspace's name with us, `folder` is private and holds `files`; `seconds` is
    what all of it may take. Behind a gate alone people can approve; `approved` are the digests of
    plans that people approved. `place` is where it is to happen if not where the token of the
    settings leads: a branch, or a workspace that was just made. `others` are the project's other
    workspaces there, by their names with us.
    """

    settings: Tinybird
    target: str
    commit: str
    tree: str
    folder: Path
    seconds: float
    on_line: Callable[[str], None]
    variables: tuple[str, ...] = ()
    is_gated: bool = False
    approved: frozenset[str] = frozenset()
    place: Listed | None = None
    others: tuple[tuple[str, Tinybird], ...] = ()

    @property
    def where(self) -> str:
        """The key of the workspace's settings."""
        return f"workspaces.{self.target}.tinybird"

    def told_of(self, found: Identity) -> str:
        """Name a workspace in words: its name and id, host and dialect."""
        settings = self.settings
        return f"{found.name} ({found.id}) at {settings.host} ({settings.dialect.value})"


@dataclass(frozen=True)
class Site:
    """A workspace that is the configured one, and what is needed to work on it."""

    order: Order
    identity: Identity
    client: Client
    tb: Tb
    project: DataProject
    journal: Journal
    end: float

    @property
    def left(self) -> float:
        """The seconds that are left."""
        return self.end - time.monotonic()

    def say(self, line: str) -> None:
        """Tell whoever follows the run."""
        self.order.on_line(line)


def identified(order: Order) -> tuple[Client, Identity] | Refusal:
    """Return the workspace that the token belongs to, unless it is another than the wanted one."""
    place = order.place
    client = Client.of(order.settings, order.where, place.token if place else "")
    identity = client.identity()
    refusal = (
        guard.wrong_place(place, identity)
        if place
        else guard.wrong_workspace(order.settings, identity, order.where)
    ) or guard.another_of_ours(identity, ids_of_others(order))
    return refusal or (client, identity)


def opened(order: Order) -> Site | Refusal:
    """Make a workspace ready, unless its token belongs to another one; writes nothing there."""
    found = identified(order)
    if isinstance(found, Refusal):
        return found
    client, identity = found
    end = time.monotonic() + order.seconds
    project = resources.prepare(
        order.folder / "files", order.settings, into=order.folder / "tinybird", where=order.where
    )
    tb = make_tb(order, project.folder, end, {"TB_HOST": order.settings.host}, with_token=True)
    version = tb.check_version()
    host = order.settings.host
    order.on_line(
        f"workspace {identity.name} ({identity.id}) at {host}; {order.settings.dialect.value} {version}"
    )
    journal = Journal.of(host, identity.id)
    return Site(order, identity, client, tb, project, journal, end)


def ids_of_others(order: Order) -> Mapping[str, str]:
    """Return the ids that belong to other workspaces of the project, with whose they are.

    Those that are pinned; and, of those called the same at a host that may be this one under another
    name, what their tokens tell, where they are at hand.
    """
    found = {other.workspace_id: name for name, other in order.others if other.workspace_id}
    for name, other in order.others:
        if other.workspace == order.settings.workspace:
            with contextlib.suppress(DataOpsError):
                where = f"workspaces.{name}.tinybird"
                found[Client.of(other, where).identity().id] = name
    return found


def staged(order: Order, stage: str, end: float, place: Listed | None = None) -> Order:
    """Return an order for one stage of several: in a folder of its own, with the time that is left.

    `end` is in seconds of the monotonic clock.
    """
    folder = order.folder / stage
    folder.mkdir()
    (folder / "files").symlink_to(order.folder / "files")
    left = max(1.0, end - time.monotonic())
    return replace(order, folder=folder, seconds=left, place=place or order.place)


def make_tb(
    order: Order, folder: Path, end: float, environment: dict[str, str], *, with_token: bool
) -> Tb:
    """Return the tb of an order; the workspace's token is in its environment only if asked for."""
    for name in order.variables:
        secret(name, f"workspaces.{order.target}.deploy.variables")  # else tb would miss it later
    where = f"{order.where}.token_variable"
    tokens = {}
    if with_token:
        place = order.place
        token = place.token if place else secret(order.settings.token_variable, where)
        tokens[TOKEN] = token
    home = order.folder / "home"
    home.mkdir(exist_ok=True, mode=0o700)
    return Tb(
        executable=order.settings.executable,
        dialect=order.settings.dialect,
        where=f"{order.where}.executable",
        folder=folder,
        home=home,
        end=end,
        on_line=order.on_line,
        environment={**environment, **tokens},
        secrets=tuple(tokens.values()),
        allowed=order.variables,
    )
