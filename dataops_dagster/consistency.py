"""What is wrong between the keys of a project, where no single key is to blame; pure.

Knows neither the file nor its format: a mistake names the key path, `config` knows the line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataops_dagster import urls
from dataops_dagster.gate import lint
from dataops_dagster.meltano import lint as meltano_lint
from dataops_dagster.origins import cycle
from dataops_dagster.settings import ModifyDelete, Policy, Project, Workspace
from dataops_dagster.settings_gate import FanIn, Gate, TreeRule
from dataops_dagster.settings_steps import MeltanoCloudStep, TinybirdStep
from dataops_dagster.settings_tinybird import Destructive, Fixtures, Tinybird

Place = tuple[str, str]
"""A repository, spelling differences aside, and a branch."""


@dataclass(frozen=True)
class Mistake:
    """A key path, what is wrong there, and how to mend it."""

    keys: tuple[str, ...]
    problem: str
    hint: str


def mistakes(project: Project, place_of: Callable[[Workspace], Place]) -> Iterator[Mistake]:
    """Yield everything that would only show when the project is used."""
    places: dict[Place, str] = {}
    for name, workspace in project.workspaces.items():
        at = ("workspaces", name)
        yield from _repository(project, workspace)
        yield from _upstream(project, workspace)
        if not _BRANCH.fullmatch(workspace.branch) or _BAD_BRANCH.search(workspace.branch):
            yield Mistake((*at, "branch"), "is not a branch name", "name a branch, such as main")
        place = place_of(workspace)
        if place in places:
            yield Mistake(
                (*at, "repository"),
                f"shares repository and branch {workspace.branch} with workspace {places[place]}",
                "give each workspace a repository or a branch of its own",
            )
        places.setdefault(place, name)
    yield from _tinybird(project)
    for name in _on_a_cycle(project):
        yield Mistake(
            ("workspaces", name, "upstream"),
            "is part of a cycle",
            "let changes flow one way: remove an upstream",
        )
    yield from _meltano_cloud(project)
    yield from _produced(project)


def _produced(project: Project) -> Iterator[Mistake]:
    """Yield assets that are ours already, or that two workspaces would overwrite for each other."""
    owners: dict[str, str] = {}
    for name, workspace in project.workspaces.items():
        for verb, step in (("run", workspace.run), ("deploy", workspace.deploy)):
            for key in step.produces if step else ():
                at = ("workspaces", name, verb, "produces")
                if key.split("/")[0] == project.name:
                    problem = f"{key} is below {project.name}/, where the project's own assets are"
                    yield Mistake(at, problem, "give it another key, such as warehouse/orders")
                elif (other := owners.setdefault(key, name)) != name:
                    yield Mistake(
                        at,
                        f"{key} is what workspace {other} produces",
                        f"give each workspace assets of its own, such as {name}/{key}",
                    )


def _meltano_cloud(project: Project) -> Iterator[Mistake]:
    """Yield what Meltano Cloud cannot do, and workspaces that would overwrite each other there."""
    served: dict[tuple[str, str], str] = {}
    for name, workspace in project.workspaces.items():
        if isinstance(workspace.run, MeltanoCloudStep):
            yield Mistake(
                ("workspaces", name, "run", "platform"),
                "meltano_cloud deploys a workspace, and does not run one",
                "set platform: meltano, or command",
            )
        step = workspace.deploy
        if isinstance(step, MeltanoCloudStep):
            if (step.client_id_variable is None) != (step.client_secret_variable is None):
                yield Mistake(
                    ("workspaces", name, "deploy"),
                    "names one half of an API key",
                    "set both client_id_variable and client_secret_variable, or neither",
                )
            other = served.setdefault((step.url, step.workspace), name)
            if other != name:
                yield Mistake(
                    ("workspaces", name, "deploy", "workspace"),
                    f"is the one that workspace {other} is deployed to",
                    "give each workspace one of its own on Meltano Cloud",
                )


def _upstream(project: Project, workspace: Workspace) -> Iterator[Mistake]:
    at = ("workspaces", workspace.name)
    if not workspace.upstream:
        unset = Workspace.model_fields
        for key in ("gate", "promote", "supersede", "auto_rollback", "merge", "keep", "scope"):
            if getattr(workspace, key) != unset[key].get_default(call_default_factory=True):
                yield Mistake(
                    (*at, key),
                    "nothing is promoted into a workspace without an upstream",
                    "add upstream: NAME, or remove this key",
                )
        return
    missing = [name for name in workspace.upstream if name not in project.workspaces]
    for name in missing:
        close = difflib.get_close_matches(name, project.workspaces, n=1)
        known = ", ".join(project.workspaces)
        yield Mistake(
            (*at, "upstream"),
            f"there is no workspace {name}",
            f"did you mean {close[0]}?" if close else f"name one of {known}",
        )
    if len(set(workspace.upstream)) < len(workspace.upstream):
        yield Mistake((*at, "upstream"), "names a workspace twice", "name each once")
    if not missing:
        yield from _merging(workspace)
    if not missing and workspace.gate:
        yield from _proof(project, workspace, workspace.gate)
        yield from _conditions(workspace, workspace.gate)


def _merging(workspace: Workspace) -> Iterator[Mistake]:
    """Yield what does not go together with the policy, or with a gate that is not there."""
    at, merge = ("workspaces", workspace.name), workspace.merge
    if merge.modify_delete is ModifyDelete.UPSTREAM and merge.policy is not Policy.THEIRS:
        yield Mistake(
            (*at, "merge", "modify_delete"),
            f"has no meaning where the policy is {merge.policy.value}",
            "remove it, or choose the policy theirs",
        )
    if merge.policy is Policy.FF_ONLY:
        for key, problem in (
            ("keep", "nothing can be kept where the policy is ff_only"),
            ("auto_rollback", "nothing could be promoted after it where the policy is ff_only"),
        ):
            if getattr(workspace, key):
                yield Mistake((*at, key), problem, "remove it, or choose another merge.policy")
    if workspace.auto_rollback and workspace.gate is None:
        yield Mistake(
            (*at, "auto_rollback"),
            "nobody asks what it rejected where there is no gate",
            "add gate: {}, or gate: {runs: 0} where nothing has to be proven",
        )


def _proof(project: Project, workspace: Workspace, gate: Gate) -> Iterator[Mistake]:
    """Yield why nothing could ever be proven to a gate."""
    where, upstreams = ("workspaces", workspace.name, "gate"), project.upstreams_of(workspace)
    for upstream in upstreams if gate.runs else ():
        if gate.jobs and upstream.deploy is None:
            yield Mistake(
                (*where, "jobs"),
                f"nobody can say at which commit of {upstream.name} they ran",
                f"say under workspaces.{upstream.name}.deploy how a commit gets there",
            )
        elif upstream.run is None and not gate.jobs:
            yield Mistake(
                where,
                f"no run of {upstream.name} can ever pass it",
                f"say under workspaces.{upstream.name}.run what a run is, or set runs: 0",
            )
        elif gate.environment not in (None, upstream.environment):
            yield Mistake(
                (*where, "environment"),
                f"{upstream.name} is never run in environment {gate.environment}",
                f"name its environment, {upstream.environment}, or leave the key out",
            )
    if gate.tested_tree is TreeRule.RETEST:
        for source in upstreams if gate.upstreams is FanIn.ANY else upstreams[:1]:
            if source.run is None:
                yield Mistake(
                    (*where, "tested_tree"),
                    f"there is no way to run what would land: {source.name} has no run",
                    f"say under workspaces.{source.name}.run what a run is",
                )


def _conditions(workspace: Workspace, gate: Gate) -> Iterator[Mistake]:
    """Yield what a gate would ignore."""
    where = ("workspaces", workspace.name, "gate")
    if gate.runs == 0:
        unset = type(gate).model_fields
        for key in ("environment", "max_age", "jobs", "tested_tree", "soak"):
            if getattr(gate, key) != unset[key].default:
                yield Mistake(
                    (*where, key), "has no meaning where runs is 0", "remove it, or ask for a run"
                )
    known = [*lint.RULES, *meltano_lint.RULES]
    unknown = sorted(set(gate.lint.ignore) - set(known)) if gate.lint else []
    if unknown:
        yield Mistake(
            (*where, "lint", "ignore"),
            f"there is no rule {', '.join(unknown)}",
            f"name one of {', '.join(known)}",
        )


def _repository(project: Project, workspace: Workspace) -> Iterator[Mistake]:
    where = ("workspaces", workspace.name, "repository")
    url = workspace.repository
    parsed = urls.parse(url)
    if parsed is None or not has_home(parsed.path):
        yield Mistake(
            where,
            "is not a repository URL we understand",
            "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or a path",
        )
    elif parsed.has_credentials:
        yield Mistake(
            where,
            "has credentials inside the URL",
            "remove them, revoke them, and set credential.username and"
            " credential.password_variable",
        )
    elif parsed.protocol not in project.protocols:
        yield Mistake(
            where,
            f"is reached by {parsed.protocol}, which is not allowed",
            f"use https or ssh, or say protocols: [{', '.join((*project.protocols, parsed.protocol))}]",
        )
    elif workspace.credential and parsed.protocol not in ("https", "http"):
        yield Mistake(
            ("workspaces", workspace.name, "credential"),
            f"is for https; this repository is reached by {parsed.protocol}",
            "remove it; for ssh name a key under ssh: instead",
        )
    if parsed and workspace.ssh and parsed.protocol != "ssh":
        yield Mistake(
            ("workspaces", workspace.name, "ssh"),
            f"is for ssh; this repository is reached by {parsed.protocol}",
            "remove it; for https name a user and a variable under credential: instead",
        )


def _tinybird(project: Project) -> Iterator[Mistake]:
    """Yield where workspaces at Tinybird are mixed up, or production is less safe than it may be."""
    known: dict[tuple[str, str], str] = {}
    pinned: dict[str, str] = {}
    for name, workspace in project.workspaces.items():
        at, tinybird = ("workspaces", name), workspace.tinybird
        if tinybird is None:
            for key, step in (("run", workspace.run), ("deploy", workspace.deploy)):
                if isinstance(step, TinybirdStep):
                    problem = "nobody says which workspace of Tinybird's it is for"
                    hint = f"add workspaces.{name}.tinybird: host, workspace, token_variable"
                    yield Mistake((*at, key), problem, hint)
            continue
        other = known.setdefault(tinybird.place, name)
        if other != name:
            yield Mistake(
                (*at, "tinybird", "workspace"),
                f"is that of workspace {other}",
                "give each workspace one of its own at Tinybird",
            )
        if tinybird.workspace_id:
            other = pinned.setdefault(tinybird.workspace_id, name)
            if other != name:
                yield Mistake(
                    (*at, "tinybird", "workspace_id"),
                    f"is that of workspace {other}",
                    "give each workspace one of its own at Tinybird",
                )
        yield from _guarded(workspace, tinybird)
    if names := cycle(project):
        yield Mistake(
            ("workspaces", names[0], "tinybird"),
            "is deployed after itself: data sources are shared from"
            f" {' to '.join((*names, names[0]))}",
            "let data sources flow one way: remove what closes the circle from uses and shares",
        )


_OR_STAGING = "; or say production: false, if nobody is served by it"


def _guarded(workspace: Workspace, tinybird: Tinybird) -> Iterator[Mistake]:
    at = ("workspaces", workspace.name, "tinybird")
    if tinybird.recreate and tinybird.user_token_variable is None:
        hint = "add user_token_variable: the name of a variable"
        yield Mistake((*at, "recreate"), "needs a user token", hint)
    for_staging = {
        "destructive": tinybird.destructive is Destructive.ALLOWED,
        "recreate": tinybird.recreate,
        "fixtures": tinybird.fixtures is Fixtures.WHEN_EMPTY,
    }
    said = [key for key, is_said in for_staging.items() if is_said]
    if said and tinybird.production is None:
        problem = f"is not said, and {' and '.join(said)} would mean something else in production"
        hint = "say production: false if nobody is served by it, or else production: true"
        yield Mistake((*at, "production"), problem, hint)
        return
    yield from _unapprovable(workspace, tinybird)
    if not tinybird.is_production:
        return
    if for_staging["destructive"]:
        hint = f"write approve, or refuse{_OR_STAGING}"
        yield Mistake((*at, "destructive"), "is too lenient for production", hint)
    if tinybird.recreate:
        yield Mistake((*at, "recreate"), "production is never dropped", f"remove it{_OR_STAGING}")


def _unapprovable(workspace: Workspace, tinybird: Tinybird) -> Iterator[Mistake]:
    """Yield what would wait for an approval that nobody can give."""
    at = ("workspaces", workspace.name, "tinybird")
    waits = []
    if tinybird.destructive is Destructive.APPROVE:
        waits.append(("destructive", "write refuse", ""))
    if tinybird.is_production and tinybird.fixtures is Fixtures.WHEN_EMPTY:
        waits.append(("fixtures", "write never", _OR_STAGING))
    approvals = workspace.gate and workspace.gate.approvals
    for key, remedy, otherwise in waits:
        if workspace.gate is None:
            yield Mistake(
                (*at, key),
                "nobody can approve where there is no gate",
                f"{remedy}, or add gate: {{}}, or gate: {{runs: 0}} where nothing has to be"
                f" proven{otherwise}",
            )
        elif approvals and approvals.allowed_signers:
            yield Mistake(
                (*at, key),
                "only promotions can be approved by signatures, and gate.approvals.allowed_signers"
                " asks for them",
                f"{remedy}, or remove allowed_signers{otherwise}",
            )


def has_home(path: str) -> bool:
    """Say whether `~user` in a path is somebody this machine knows."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        return False
    return True


# git's own rules (git-check-ref-format), and nothing that could pass for an option.
_BRANCH = re.compile(r"[^-/.\x00-\x20\x7f~^:?*\[\\][^\x00-\x20\x7f~^:?*\[\\]*")
_BAD_BRANCH = re.compile(r"\.\.|@\{|//|/\.|\.lock(/|$)|[/.]$|^@$")


def _on_a_cycle(project: Project) -> Iterator[str]:
    for name, workspace in project.workspaces.items():
        ahead, passed = list(workspace.upstream), set[str]()
        while ahead:
            step = ahead.pop()
            if step in project.workspaces and step not in passed:
                passed.add(step)
                ahead += project.workspaces[step].upstream
        if name in passed:
            yield name
