"""Data sources shared between workspaces: what we use is there before, what others use after."""

from __future__ import annotations

from collections.abc import Sequence

from dataops_dagster.errors import ToolError
from dataops_dagster.settings_tinybird import Dialect, Share
from dataops_dagster.tinybird import client as api
from dataops_dagster.tinybird.client import Account, Client
from dataops_dagster.tinybird.model import Identity, Refusal
from dataops_dagster.tinybird.resources import DataProject
from dataops_dagster.tinybird.site import Site


def missing(client: Client, found: Identity, uses: Sequence[Share]) -> Refusal | None:
    """Say what others were to share with this workspace, and did not: the origin comes first."""
    wanted = [f"{share.workspace}.{share.datasource}" for share in uses]
    there = client.shared_with_us() if wanted else set()
    lacking = [name for name in wanted if name not in there]
    if not lacking:
        return None
    first = "deploy the workspace that shares it first, with shares: in its settings"
    in_branch = "the workspace itself sees it, and Tinybird does not show it to this branch: check without one"
    return Refusal(
        f"{', '.join(lacking)}: not shared with {found.name} yet",
        in_branch if found.is_branch else first,
        origin=", ".join(sorted({name.partition(".")[0] for name in lacking})),
    )


def not_vendored(project: DataProject, uses: Sequence[Share]) -> Refusal | None:
    """Say which data sources of others Tinybird Local could not know: their files are not in the commit."""
    lacking = [
        path
        for share in uses
        if not (
            project.folder
            / (path := f"vendor/{share.workspace}/datasources/{share.datasource}.datasource")
        ).is_file()
    ]
    if not lacking:
        return None
    return Refusal(
        f"the commit has no {', '.join(lacking)}, so that its tests cannot run in Tinybird Local",
        "run `tb --cloud pull --only-vendored` in the data project, and commit what it writes",
    )


def share(site: Site) -> Refusal | None:
    """See that everything declared is shared; in Classic, share it where there is a user token.

    In Forward the data project says it, by SHARED_WITH: the next deployment would take back what
    anybody else shared.
    """
    shares, settings = site.order.settings.shares, site.order.settings
    if not shares:
        return None
    account = Account.of(settings, site.order.where) if settings.user_token_variable else None
    known = {w.name: w.id for w in account.workspaces()} if account else {}
    problems = [problem for each in shares if (problem := _one(site, each, account, known))]
    if not problems:
        return None
    by_hand = f"share it, or name in {site.order.where}.user_token_variable the token of who may"
    in_file = "write SHARED_WITH and the workspace's name into the data source's file"
    hint = in_file if settings.dialect is Dialect.FORWARD else by_hand
    return Refusal("deployed, but " + "; ".join(problems), hint)


def _one(site: Site, wanted: Share, account: Account | None, known: dict[str, str]) -> str:
    """Share one data source if it is not yet; returns the problem, or nothing."""
    id_, others = api.shared(site.client, wanted.datasource)
    other = known.get(wanted.workspace, "")
    told = f"{wanted.datasource} is not shared with {wanted.workspace}"
    if {other, wanted.workspace} & others:
        return ""
    if not id_:
        return f"{told}: it is not there"
    if account is None or not other or account.dialect is Dialect.FORWARD:
        return f"{told}: the user token sees no such workspace" if account and not other else told
    try:
        account.share(id_, origin=site.identity.id, to=other)
    except ToolError as error:
        if error.retryable:
            raise
        return f"{told}: {error.tail}"
    site.say(f"shared {wanted.datasource} with {wanted.workspace}")
    return "" if other in api.shared(site.client, wanted.datasource)[1] else told
