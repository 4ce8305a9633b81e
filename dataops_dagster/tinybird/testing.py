"""The data project's own tests, by `tb test run`: a proof only where there is something to prove."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import PurePath

from dataops_dagster.api import Api
from dataops_dagster.errors import ConfigError, ToolError
from dataops_dagster.settings_tinybird import Dialect
from dataops_dagster.tinybird import resources
from dataops_dagster.tinybird.command import Ended, Tb, local_address
from dataops_dagster.tinybird.model import Refusal
from dataops_dagster.tinybird.resources import DataProject
from dataops_dagster.tinybird.sharing import not_vendored
from dataops_dagster.tinybird.site import Order, identified, make_tb, opened
from dataops_dagster.tinybird.trouble import trouble

_PASSED = re.compile(r"\s*(?:✓ (?![0-9]+/[0-9]+ passed).+ passed|Total Pass\b.*: )")
_UNPROVEN = "nothing is proven either way: run it again"


@dataclass(frozen=True)
class Tested:
    """How tests ended: for which workspace, in words, and why they are no proof if they are none."""

    where: str
    detail: str = ""
    refusal: Refusal | None = None


def test(order: Order, local: str) -> Tested:
    """Run the tests of a commit: Classic's in the workspace, Forward's in Tinybird Local.

    Raises `DataOpsError` when it could not be found out whether they pass, and for the token of
    another workspace, which says nothing of the commit.
    """
    is_forward = order.settings.dialect is Dialect.FORWARD
    where, project, tb = _forward(order, local) if is_forward else _classic(order)
    uses = order.settings.uses if is_forward else ()
    if problem := untested(project, order.settings.dialect) or not_vendored(project, uses):
        return Tested(where, refusal=problem)
    answer = outcome(tb.run("test", "run"), files=len(_files(project)))
    if isinstance(answer, Refusal):
        return Tested(where, refusal=answer)
    return Tested(where, answer)


def outcome(done: Ended, *, files: int) -> str | Refusal:
    """Say how tests ended, of `files` files; raises `ToolError` when the server is to blame.

    The exit code alone is no proof: it is 0, too, when the server failed tb, which then skips tests.
    """
    if told := trouble(done.lines):
        raise ToolError("tb test run", done.code, told, retryable=True, hint=_UNPROVEN)
    if not done.passed:
        return Refusal(f"tests failed: {done.told}", "see the lines above")
    if not any(map(_PASSED.match, done.lines)):
        return Refusal("the files of tests hold no test", "write some into them")
    return f"{files} file(s) of tests passed"


def _forward(order: Order, local: str) -> tuple[str, DataProject, Tb]:
    """Make Forward's tests ready: they need no token of the workspace, so tb gets none."""
    found = identified(order)
    if isinstance(found, Refusal):
        raise _misled(order, found)
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
    return f"{order.told_of(found[1])}; tested in Tinybird Local at {local}", project, tb


def _classic(order: Order) -> tuple[str, DataProject, Tb]:
    site = opened(order)
    if isinstance(site, Refusal):
        raise _misled(order, site)
    return order.told_of(site.identity), site.project, site.tb


def _misled(order: Order, refusal: Refusal) -> ConfigError:
    return ConfigError.at(order.where, refusal.reason, refusal.hint)


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
