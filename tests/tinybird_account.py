"""One account at Tinybird, at the stand-in or at a host that is named: asked by its public API only."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dataops_dagster.testing.tinybird import Dialect, StandIn
from tests.tinybird import SOURCES, Reply, Tb, ask, make_project

BUSIEST = [("harbour", 3), ("market", 2), ("castle", 1)]


@dataclass(frozen=True)
class Account:
    """What its user sees; whatever a test makes has its prefix, and goes at the end.

    `tb` is the command line of the dialect, in the data project's folder. What the stand-in alone
    needs stands behind `if stand_in`.
    """

    host: str
    user_token: str = field(repr=False)
    dialect: Dialect
    tb: Tb
    stand_in: StandIn | None
    prefix: str

    @property
    def cloud(self) -> list[str]:
        """What Forward needs to look beyond this machine."""
        return ["--cloud"] if self.dialect is Dialect.FORWARD else []

    @property
    def version(self) -> str:
        """The API's, of workspaces and branches."""
        return "v1" if self.dialect is Dialect.FORWARD else "v0"

    @property
    def project(self) -> Path:
        """The data project's folder."""
        return self.tb.folder

    def at(self, folder: Path) -> Account:
        """Return the account with another data project."""
        return replace(self, tb=replace(self.tb, folder=folder))

    # --- workspaces -----------------------------------------------------------------------------

    def named(self, name: str) -> str:
        """Return a name for a workspace, which no other test has."""
        return f"{self.prefix}{name}"

    def listed(self, *, branches: bool = False) -> dict[str, dict]:
        """Return the account's workspaces by name, or also their branches."""
        path = f"/{self.version}/user/workspaces"
        asked = {"with_environments": "true" if branches else "false"}
        told = good(ask(self.host, "GET", path, self.user_token, **asked)).json
        return {workspace["name"]: workspace for workspace in told["workspaces"]}

    def create(self, name: str) -> str:
        """Create a workspace; returns its full name."""
        full, path = self.named(name), f"/{self.version}/workspaces"
        good(ask(self.host, "POST", path, self.user_token, name=full))
        return full

    def delete(self, name: str) -> None:
        """Delete a workspace by its full name."""
        path = f"/{self.version}/workspaces/{self.listed()[name]['id']}"
        good(ask(self.host, "DELETE", path, self.user_token, form={"confirmation": name}))

    def token(self, name: str) -> str:
        """Read a workspace's admin token anew."""
        return self.listed()[name]["token"]

    # --- what is in them ------------------------------------------------------------------------

    def resources(self, token: str) -> tuple[set[str], set[str]]:
        """Return the names of data sources, with those that others share, and of pipes."""
        sources = good(ask(self.host, "GET", "/v0/datasources", token)).json["datasources"]
        pipes = good(ask(self.host, "GET", "/v0/pipes", token)).json["pipes"]
        return {s["name"] for s in sources}, {p["name"] for p in pipes}

    def rows(self, token: str, prefix: str = "") -> tuple[int, int]:
        """Return how many rows there are in what has fixtures: rides and stations."""

        def count(name: str) -> int:
            sql = f"SELECT count() AS rows FROM {prefix}{name} FORMAT JSON"
            told = good(ask(self.host, "GET", "/v0/sql", token, q=sql)).json
            return int(told["data"][0]["rows"])

        return count("rides"), count("stations")

    def branches(self, token: str) -> list[dict]:
        """Return the branches of a workspace."""
        path = f"/{self.version}/environments"
        return good(ask(self.host, "GET", path, token)).json["environments"]

    def serve(self, name: str) -> subprocess.CompletedProcess[str]:
        """Push or deploy the project into a workspace."""
        if self.dialect is Dialect.FORWARD:
            return self.tb(self.token(name), "--cloud", "deploy")
        return self.tb(self.token(name), "push", "--push-deps", "--force", "--yes", "--no-check")

    def seed(self, token: str, prefix: str = "") -> None:
        """Append the fixtures in a workspace that serves the project."""
        for name in (f"{prefix}rides", f"{prefix}stations"):
            file = next(self.project.rglob(f"{name}.csv")).relative_to(self.project)
            words = ["--file", str(file)] if self.dialect is Dialect.FORWARD else [str(file)]
            done = self.tb(token, *self.cloud, "datasource", "append", name, *words)
            assert done.returncode == 0
        assert self.rows(token, prefix) == (6, 3)

    def empty(self, token: str) -> None:
        """Remove all rows."""
        for name in SOURCES:
            good(ask(self.host, "POST", f"/v0/datasources/{name}/truncate", token))


def good(reply: Reply) -> Reply:
    """Return an answer that is a yes."""
    assert reply.status < 300, reply.text
    return reply


@pytest.fixture
def open_account(request, tmp_path, tb_commands) -> Iterator[Callable[[Dialect], Account]]:
    """Open accounts at the host that the environment names, or at a stand-in each.

    A test that is marked `stand_in` makes something go wrong on purpose, and never leaves that one.
    """
    leaves = not request.node.get_closest_marker("stand_in")
    host = os.environ.get("DATAOPS_TINYBIRD_HOST") if leaves else None
    with ExitStack() as stack:

        def open_one(dialect: Dialect) -> Account:
            project = make_project(tmp_path / "data_project", dialect)
            return stack.enter_context(account_at(host, dialect, tb_commands[dialect], project))

        yield open_one


@contextmanager
def account_at(
    host: str | None, dialect: Dialect, command: str, project: Path
) -> Iterator[Account]:
    """Give an account at a host or a stand-in, and delete afterwards what was made there."""
    prefix = f"t{secrets.token_hex(4)}_"
    with nullcontext() if host else StandIn() as stand_in:
        if stand_in:
            host = local = stand_in.url
            user_token = stand_in.user_token
            stand_in.create_workspace("first", dialect)  # whoever has an account has one
            # It runs no SQL.
            stand_in.answer("busiest_stations", [{"station": s, "rides": n} for s, n in BUSIEST])
        else:
            # The vendor's local container gives its tokens away.
            user_token = (
                os.environ.get("DATAOPS_TINYBIRD_USER_TOKEN")
                or good(ask(host, "GET", "/tokens")).json["user_token"]
            )
            local = os.environ.get("DATAOPS_TINYBIRD_LOCAL") or host
        tb = Tb(command, host, project, local)
        account = Account(host, user_token, dialect, tb, stand_in, prefix)
        try:
            yield account
        finally:
            for name in account.listed():
                if name.startswith(prefix):
                    account.delete(name)


__all__ = ["Account", "open_account"]
