"""A repository reached by git's own commands: over ssh, and where a server speaks nothing newer."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataops_dagster.git import PROMISOR, Access, Git, HardenedGit, error_of
from dataops_dagster.remotes.wire import Report, said


def refs(access: Access, prefixes: tuple[str, ...], seconds: float) -> dict[str, str]:
    """Ask for all refs that begin with one of `prefixes`, by `git ls-remote`."""
    patterns = [f"{prefix}*" for prefix in prefixes]
    done = HardenedGit().command(
        "ls-remote", "--end-of-options", access.url, *patterns, access=access, seconds=seconds
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    pairs = (line.partition("\t") for line in lines)
    return {name: id_ for id_, _, name in pairs}


def fetch(
    git: Git, access: Access, source: str, *options: str, partial: bool, seconds: float
) -> None:
    """Bring what `source` names, with its history, into a repository, by `git fetch`.

    Leaves nothing out: an old server may not give later what it left out.
    """
    git(
        *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-filter", *options),
        "--end-of-options",
        PROMISOR if partial else access.url,
        source,
        access=access,
        seconds=seconds,
        lazy=partial,
    )


def push(
    git: Git,
    access: Access,
    updates: Mapping[str, tuple[str | None, str]],
    *,
    seconds: float,
) -> Report:
    """Move each ref from the one id to the other, all or none, by `git push`."""
    leases = [f"--force-with-lease={ref}:{old or ''}" for ref, (old, _) in updates.items()]
    done = git(
        *("push", "--porcelain", "--atomic", *leases, "--end-of-options", access.url),
        *(f"{new}:{ref}" for ref, (_, new) in updates.items()),
        access=access,
        allow=(0, 1),
        seconds=seconds,
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    refused = [line.split("\t") for line in lines if line.startswith("!")]
    if done.code and not refused:
        raise error_of("push", done, access)
    return Report(
        {re.sub(r"^.*:", "", fields[1]): said(fields[2]) for fields in refused}, _said(done.stderr)
    )


def _said(stderr: bytes) -> tuple[str, ...]:
    """Return what the server's hooks said."""
    lines = stderr.decode("utf-8", "replace").splitlines()
    told = [said(line.removeprefix("remote:")) for line in lines if line.startswith("remote:")]
    return tuple(filter(None, told))
