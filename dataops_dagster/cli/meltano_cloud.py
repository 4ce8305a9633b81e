"""Commands about workspaces on Meltano Cloud: list them, make one, deploy one by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import click
from pydantic import ValidationError

from dataops_dagster.cli.session import SAID_NO, Session, progress
from dataops_dagster.cli.shown import escape, table
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.meltano_cloud.api import Api
from dataops_dagster.meltano_cloud.following import wait
from dataops_dagster.meltano_cloud.identity import IN_THE_APP, Standing, deployed, matching
from dataops_dagster.meltano_cloud.inspection import inspect
from dataops_dagster.meltano_cloud.model import FAILED, READY, CloudWorkspace
from dataops_dagster.model import Outcome
from dataops_dagster.plan import as_data
from dataops_dagster.platforms import meltano_cloud as platform
from dataops_dagster.settings import Project
from dataops_dagster.settings_base import duration
from dataops_dagster.settings_steps import MELTANO_CLOUD_TOKEN, MeltanoCloudStep
from dataops_dagster.text import one_line, span

HEADER = ("project", "workspace", "cloud_workspace", "state", "answer")

_ENDED_WITH = {Outcome.PASSED: 0, Outcome.FAILED: SAID_NO, Outcome.ERRORED: ToolError.exit_code}


def _length(_ctx: click.Context, _option: click.Parameter, value: str) -> timedelta:
    try:
        return duration(value)
    except ValueError as error:
        raise ConfigError.at("--deadline", "is no duration", str(error)) from None


_patience = click.option(
    "--deadline", default="10m", show_default=True, callback=_length, help="How long to wait."
)
_end = click.option(
    "--deadline",
    default="1h",
    show_default=True,
    callback=_length,
    help="When to stop the deployment.",
)


@click.group("meltano-cloud")
@click.option("--url", help="Where the API is.  [default: as configured, or Meltano Cloud's]")
@click.option(
    "--token-variable",
    metavar="NAME",
    help="The environment variable that holds the token.  [default: as configured, or"
    f" {MELTANO_CLOUD_TOKEN}]",
)
@click.pass_context
def meltano_cloud(ctx: click.Context, url: str | None, token_variable: str | None) -> None:
    """Look after workspaces on Meltano Cloud, formerly Matatika."""
    ctx.obj = _Account(ctx.obj, url, token_variable)


@dataclass(frozen=True)
class _Account:
    """What options say of whom to ask; the configuration is read when that is needed."""

    session: Session
    url: str | None
    token_variable: str | None

    @property
    def api(self) -> Api:
        """Return the API that options name, or else the only one that the configuration does.

        Workspaces are made before there is a configuration.
        """
        if self.url and self.token_variable:
            return Api.of(_step(self.url, self.token_variable))
        is_there = any(path.exists() for path in self.session.paths)
        projects = self.session.projects() if is_there else []
        configured = {Api.of(step) for project in projects for _, step in deployed(project)}
        found = [api for api in configured if self.url in (None, api.url)]
        if len(found) > 1:
            raise ConfigError.at(
                "--url", "the configuration names several", "name one, and its --token-variable"
            )
        if found and not self.token_variable:
            return found[0]
        url = self.url or (found[0].url if found else None)
        return Api.of(_step(url, self.token_variable))


def _step(url: str | None, token_variable: str | None) -> MeltanoCloudStep:
    """Hold what options say to the same rules as the configuration."""
    given = {"url": url, "token_variable": token_variable}
    said = {key: value for key, value in given.items() if value}
    try:
        return MeltanoCloudStep.model_validate(
            {"platform": "meltano_cloud", "workspace": "any", **said}
        )
    except ValidationError as error:
        option = f"--{error.errors()[0]['loc'][0]}".replace("_", "-")
        hint = "write https://HOST/PATH without credentials, and a variable's name"
        raise ConfigError.at(option, "is not usable", hint) from None


@meltano_cloud.command()
@click.pass_obj
def workspaces(account: _Account) -> None:
    """List the workspaces, with the URL of each one's repository."""
    with progress(account.session, "asking Meltano Cloud"):
        listed = account.api.workspaces()
    header = ("name", "state", "repository", "branch", "environment", "id")
    rows = [
        (w.name, w.status, w.repository, w.branch or "", w.environment or "", w.id) for w in listed
    ]
    account.session.show([as_data(cloud) for cloud in listed], table(header, rows))


@meltano_cloud.command()
@click.argument("workspace")
@click.pass_obj
def url(account: _Account, workspace: str) -> None:
    """Print the URL of WORKSPACE's repository."""
    cloud = _find(account.api, workspace)
    account.session.show({"repository": cloud.repository}, escape(cloud.repository))


@meltano_cloud.command()
@click.argument("name")
@click.option("--wait", "is_awaited", is_flag=True, help="Wait until the workspace is ready.")
@_patience
@click.pass_obj
def create(account: _Account, name: str, deadline: timedelta, *, is_awaited: bool) -> None:
    """Make a workspace called NAME, with a repository of its own."""
    session, api = account.session, account.api
    if not name or one_line(name) != name:
        raise ConfigError.at("NAME", "is empty, or not one line", "write a name for people")
    with progress(session, f"making {name}"):
        if taken := matching(name, api.workspaces()):
            ids = ", ".join(cloud.id for cloud in taken)
            raise ConfigError.at(
                "NAME", f"there is a workspace “{name}” already ({ids})", "choose another name"
            )
        cloud = api.create(name)
        if is_awaited:
            cloud = wait(api, cloud, seconds=deadline.total_seconds())
    _must_be_ready(cloud, deadline if is_awaited else None)
    told = f"{cloud.name} is {cloud.status}: {cloud.repository or 'no repository yet'}"
    session.show(
        as_data(cloud), escape(told), f"Set its active environment by hand, {escape(IN_THE_APP)}."
    )
    if cloud.status == FAILED:
        sys.exit(SAID_NO)


def _must_be_ready(cloud: CloudWorkspace, deadline: timedelta | None) -> None:
    if deadline is not None and cloud.status not in (READY, FAILED):
        raise ToolError(
            f"making “{cloud.name}” on Meltano Cloud",
            None,
            f"it is still {cloud.status} after {span(deadline)}",
            retryable=True,
            hint="look later: dataops meltano-cloud workspaces",
        )


@meltano_cloud.command()
@click.argument("workspace")
@_end
@click.pass_obj
def deploy(account: _Account, workspace: str, deadline: timedelta) -> None:
    """Deploy the head of WORKSPACE's repository by hand; asks no gate, and Dagster does not hear."""
    session, api = account.session, account.api
    cloud = _find(api, workspace)
    result = platform.deploy(
        api,
        cloud,
        deadline=deadline,
        on_line=lambda line: click.echo(line, err=session.as_json),
    )
    data = {"outcome": result.outcome.value, "detail": result.detail, "workspace": as_data(cloud)}
    session.show(data, escape(result.detail))
    sys.exit(_ENDED_WITH[result.outcome])


def _find(api: Api, name_or_id: str) -> CloudWorkspace:
    found = matching(name_or_id, api.workspaces())
    if len(found) == 1:
        return found[0]
    problem = "several have that name" if found else "there is none of that name or id"
    hint = "`dataops meltano-cloud workspaces` lists those that there are"
    raise ConfigError.at("WORKSPACE", problem, hint)


def checked(
    session: Session, projects: Iterable[Project]
) -> tuple[list[Sequence[str]], list[str], list[DataOpsError]]:
    """Return rows below `HEADER`, what a person must look after, and what is wrong."""
    rows, by_hand, broken = list[Sequence[str]](), list[str](), list[DataOpsError]()
    for project in projects:
        with progress(session, f"asking Meltano Cloud about {project.name}"):
            found = inspect(project)
        for name, standing in found.items():
            error = _wrong(standing)
            if error:
                if str(error) not in map(str, broken):
                    broken.append(error)
                rows.append((project.name, name, "", "failed", "see below"))
            elif isinstance(standing, Standing) and standing.cloud:
                cloud = standing.cloud
                state = "ok" if cloud.status == READY else "not ready"
                answer = f"{cloud.status}, environment {cloud.environment or 'not told'}"
                rows.append((project.name, name, cloud.name, state, answer))
                by_hand += standing.by_hand
    return rows, by_hand, broken


def _wrong(standing: Standing | DataOpsError) -> DataOpsError | None:
    if isinstance(standing, DataOpsError):
        return standing
    return ConfigError(standing.problems) if standing.problems else None
