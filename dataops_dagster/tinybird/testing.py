"""The data project's own tests, by `tb test run`: a proof only where there is something to prove."""

from __future__ import annotations

import re
import time
from pathlib import PurePath

from dataops_dagster.api import Api
from dataops_dagster.errors import ToolError
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.tinybird import resources
from dataops_dagster.tinybird.command import Ended, Tb, local_address
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.resources import DataProject
from dataops_dagster.tinybird.site import Order, make_tb, opened
from dataops_dagster.tinybird.trouble import trouble

_SKIPPED = "All tests skipped"
"""What Forward says of a file when it gets no answer about its pipe; that pipe is there, as we looked."""

_PASSED = re.compile(r"\s*(?:✓ (?![0-9]+/[0-9]+ passed).+ passed|Total Pass\b.*: )")
_UNPROVEN = "nothing is proven either way: run it again"


def test(order: Order, local: str) -> str | Refusal:
    """Run the tests of a commit: Classic's in the workspace, Forward's in Tinybird Local.

    Raises `DataOpsError` when it could not be found out whether they pass.
    """
    found = _forward(order, local) if order.settings.dialect is Dialect.FORWARD else _classic(order)
    if isinstance(found, Refusal):
        return found
    project, tb = found
    if problem := untested(project, order.settings.dialect):
        return problem
    return outcome(tb.run("test", "run"), files=len(_files(project)))


def outcome(done: Ended, *, files: int) -> str | Refusal:
    """Say how tests ended, of `files` files; raises `ToolError` when the server is to blame.

    The exit code alone is no proof: it is 0, too, when the server failed tb, which then skips tests.
    """
    skipped = next((line for line in done.lines if _SKIPPED in line), "")
    if told := trouble(done.lines) or skipped:
        raise ToolError("tb test run", done.code, told, retryable=True, hint=_UNPROVEN)
    if not done.passed:
        return Refusal(f"tests failed: {done.told}", "see the lines above")
    if not any(map(_PASSED.match, done.lines)):
        return Refusal("the files of tests hold no test", "write some into them")
    return f"{files} file(s) of tests passed"


def _forward(order: Order, local: str) -> tuple[DataProject, Tb]:
    """Make Forward's tests ready: they need no token of the workspace, so they get none."""
    end = time.monotonic() + order.seconds
    project = resources.prepare(
        order.folder / "files", order.settings, into=order.folder / "tinybird", where=order.where
    )
    tb = make_tb(order, project.folder, end, local_address(local), with_token=False)
    tb.check_version()
    try:
        Api(local, f"Tinybird Local at {local}", order.where, "").get("/tokens")
    except ToolError as error:
        hint = "start it by `tb local start`, or name another one as run.local"
        raise ToolError(error.command, error.code, error.tail, retryable=True, hint=hint) from None
    return project, tb


def _classic(order: Order) -> tuple[DataProject, Tb] | Refusal:
    site = opened(order)
    return site if isinstance(site, Refusal) else (site.project, site.tb)


def untested(project: DataProject, dialect: Dialect) -> Refusal | None:
    """Refuse to take for a proof what tests nothing: tb ends with 0 then, too."""
    files = _files(project)
    if not files:
        return Refusal("the data project has no tests", "write some into its folder tests")
    lost = [path for path in files if PurePath(path).stem not in project.names]
    if lost and dialect is Dialect.FORWARD:
        return Refusal(
            f"{', '.join(lost)}: tests of a pipe that is not there, which tb skips",
            "name the file after its pipe, or remove it",
        )
    return None


def _files(project: DataProject) -> list[str]:
    return [path for path in project.tests if path.endswith((".yaml", ".yml", ".test"))]
