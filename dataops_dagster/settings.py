"""The words that a user configures, as strict and frozen types; `dataops.yaml` is read into them.

The glossary in `docs/glossary.md` says what each word means. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from dataops_dagster.settings_base import (
    Duration,
    EnvironmentName,
    Name,
    Owner,
    Settings,
    Size,
    Tags,
    Text,
    VariableName,
)
from dataops_dagster.settings_gate import Gate, not_empty
from dataops_dagster.settings_steps import Step, TinybirdStep, When
from dataops_dagster.settings_tinybird import Tinybird, TinybirdProject


class Policy(str, Enum):
    """How a promotion settles what both sides changed, from the most lenient to the strictest."""

    THEIRS = "theirs"
    EXACT = "exact"
    FAIL_ON_CONFLICT = "fail_on_conflict"
    FF_ONLY = "ff_only"


class ModifyDelete(str, Enum):
    """What happens when one side deleted a file that the other changed."""

    REFUSE = "refuse"
    UPSTREAM = "upstream"


class Merge(Settings):
    """How the upstream's changes come into the target."""

    policy: Policy = Field(
        default=Policy.THEIRS,
        strict=False,
        description="theirs: the upstream wins conflicts; exact: the target's tree becomes the"
        " upstream's; fail_on_conflict: refuse any; ff_only: refuse what is no fast-forward",
    )
    modify_delete: ModifyDelete = Field(
        default=ModifyDelete.REFUSE,
        strict=False,
        description="where one side deleted what the other changed: refuse, or do as the upstream",
    )


# Half a character, \ud800 and on, is nothing that a name could be in.
_PATTERN_PARTS = re.compile(r"(?!/)(?!.*//)[^\x00-\x1f\x7f\ud800-\udfff]+")


def _pattern(value: str) -> str:
    parts = value.rstrip("/").split("/")
    if not _PATTERN_PARTS.fullmatch(value) or {"..", ".", ".git"} & set(parts):
        raise ValueError("write a path from the repository's top, such as datastores/**")
    return value


def _keep(value: str) -> str:
    path, hash_, key = value.partition("#")
    _pattern(path)
    if hash_ and (not all(key.split(".")) or re.search(r"[*?\[\\]", path)):
        raise ValueError("write FILE#KEY for a key of a YAML file, such as meltano.yml#project_id")
    return value


Pattern = Annotated[str, AfterValidator(_pattern), Field(examples=["datastores/**"])]
KeepRule = Annotated[
    str, AfterValidator(_keep), Field(examples=["workspace.yml", "meltano.yml#project_id"])
]


class Supersede(str, Enum):
    """What becomes of commits that a newer one overtakes."""

    LATEST = "latest"
    EVERY = "every"


def _upstreams(value: Any) -> Any:
    return (value,) if isinstance(value, str) else () if value is None else value


Upstreams = Annotated[
    tuple[Name, ...], BeforeValidator(_upstreams, json_schema_input_type=Name | list[Name] | None)
]


class Credential(Settings):
    """How to log in to the repository's host over HTTPS; the secret stays in a variable."""

    username: Text
    password_variable: VariableName


# What ssh expands in the name of a file, and what ends the quotes around it.
SSH_READS_OTHERWISE = re.compile(r'^~|[\x00-\x1f%"\\]|\$\{')


def _as_written(value: str) -> str:
    if "PRIVATE KEY" in value:
        raise ValueError("is a key: put it into a file that you alone may read, and name that")
    if SSH_READS_OTHERWISE.search(value):
        raise ValueError(
            'write a path without ~, %, ", \\ and ${, which ssh reads as something else'
        )
    return value


SshPath = Annotated[Text, AfterValidator(_as_written)]


class Ssh(Settings):
    """How to log in to the repository's host over ssh; nothing of ssh's own configuration applies."""

    key: SshPath = Field(
        description="the file of a private key without passphrase, the only one offered;"
        " beside dataops.yaml",
        examples=["keys/prod"],
    )
    known_hosts: SshPath | None = Field(
        default=None,
        description="the only file whose hosts are trusted, in place of this machine's;"
        " beside dataops.yaml",
    )


class Workspace(Settings):
    """A repository, its branch, and the environment its configuration is read in."""

    name: Name
    repository: Text = Field(description="URL or path of the git repository, without credentials")
    branch: Text = "main"
    environment: EnvironmentName
    upstream: Upstreams = Field(
        default=(),
        strict=False,
        description="the workspace that changes come from; several, for a gate that asks all or any",
    )
    promote: When = "manual"
    supersede: Supersede = Field(
        default=Supersede.LATEST,
        strict=False,
        description="latest: the newest commit that the gate takes, skipping those before it;"
        " every: each that the gate takes, the oldest first",
    )
    auto_rollback: bool = Field(
        default=False,
        description="roll back, once, when the deployment or the run of what was promoted fails",
    )
    gate: Annotated[Gate | None, BeforeValidator(not_empty)] = Field(
        default=None, description="conditions on a promotion into this workspace"
    )
    run: Step | None = Field(default=None, description="what a run of this workspace is")
    deploy: Step | None = Field(default=None, description="makes the platform serve a commit")
    tinybird: Annotated[Tinybird | None, BeforeValidator(not_empty)] = Field(
        default=None, description="which workspace of Tinybird's this is"
    )
    credential: Credential | None = None
    ssh: Ssh | None = None
    owners: tuple[Owner, ...] = Field(
        default=(),
        strict=False,
        description="who answers for this workspace's assets in Dagster; in place of the project's",
    )
    tags: Tags = Field(
        default_factory=dict,
        description="tags of this workspace's assets in Dagster, beside the project's",
    )
    merge: Merge = Field(default_factory=Merge)
    keep: tuple[KeepRule, ...] = Field(
        default=(),
        strict=False,
        description="what this workspace owns and no promotion into it overwrites: paths, or single"
        " keys of YAML files as FILE#KEY",
    )
    scope: tuple[Pattern, ...] = Field(
        default=(),
        strict=False,
        description="the paths that must equal the upstream's for the result to count as tested",
    )

    @property
    def run_at(self) -> tuple[str, ...]:
        """Where a run happens, as far as its step does not say that: which workspace at Tinybird."""
        if self.tinybird is None or not isinstance(self.run, TinybirdStep):
            return ()
        at = self.tinybird
        return (*at.place, at.workspace_id or "", at.dialect.value, at.path)


TransportProtocol: TypeAlias = Literal["https", "ssh", "http", "file"]


class Automation(Settings):
    """Whether Dagster's sensors and schedules run by themselves, and how often they look."""

    enabled: bool = False
    interval: Duration = Field(default="30s", validate_default=True)


class Project(Settings):
    """One data project: its workspaces, linked by `upstream`."""

    name: Name = Field(validation_alias="project", description="the project's name")
    workspaces: Mapping[str, Workspace] = Field(min_length=1)
    protocols: tuple[TransportProtocol, ...] = Field(
        default=("https", "ssh"),
        strict=False,
        description="how repositories may be reached; http and file must be asked for",
    )
    cache_limit: Size = Field(
        default="100GB",
        validate_default=True,
        description="what a machine may keep of the project's repositories; a fetch of more is refused",
    )
    automation: Automation = Field(default_factory=Automation)
    owners: tuple[Owner, ...] = Field(
        default=(),
        strict=False,
        description="who answers for the project's assets in Dagster, unless a workspace says who",
    )
    tags: Tags = Field(
        default_factory=dict, description="tags of all the project's assets in Dagster"
    )
    tinybird: TinybirdProject = Field(default_factory=TinybirdProject)

    @property
    def targets(self) -> tuple[Workspace, ...]:
        """Workspaces that have an upstream."""
        return tuple(w for w in self.workspaces.values() if w.upstream)

    @property
    def sources(self) -> tuple[Workspace, ...]:
        """Workspaces that have none."""
        return tuple(w for w in self.workspaces.values() if not w.upstream)

    @property
    def produced(self) -> dict[str, Workspace]:
        """Keys of the assets that workspaces' steps produce, and whose they are."""
        return {
            key: workspace
            for workspace in self.workspaces.values()
            for step in (workspace.run, workspace.deploy)
            for key in (step.produces if step else ())
        }

    def upstream_of(self, target: Workspace) -> Workspace:
        """Return the workspace that `target`'s changes come from."""
        return self.upstreams_of(target)[0]

    def upstreams_of(self, target: Workspace) -> tuple[Workspace, ...]:
        """Return the workspaces that `target`'s changes may come from, the first of them first."""
        assert target.upstream, f"{target.name} has no upstream"
        return tuple(self.workspaces[name] for name in target.upstream)

    def owners_of(self, workspace: Workspace) -> tuple[str, ...]:
        """Return who answers for a workspace's assets."""
        return workspace.owners or self.owners

    def tags_of(self, workspace: Workspace) -> dict[str, str]:
        """Return the tags of a workspace's assets."""
        return {**self.tags, **workspace.tags}

    def targets_of(self, upstream: Workspace) -> tuple[Workspace, ...]:
        """Return the workspaces that `upstream`'s changes may go to."""
        return tuple(w for w in self.workspaces.values() if upstream.name in w.upstream)
