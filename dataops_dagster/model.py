"""The words of the project as frozen values: what a user configures, and what we find and answer.

Nothing of ours lies below this module but `errors`; it does no I/O. The glossary in
`docs/glossary.md` says what each word means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

# --- what a user configures -------------------------------------------------------------------

_DURATION = re.compile(r"([1-9][0-9]*)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a whole number and s, m, h or d, such as 30m")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except (OverflowError, ValueError):
        raise ValueError("is longer than anybody waits") from None


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9][0-9]*\s*(s|m|h|d)$"}),
]

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*$"
"""A name of a project or workspace: becomes part of asset keys, op names and git refs."""

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=60)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Argument = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
# A block is an argument of ours to Meltano; it must never pass for an option.
Block = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][^\x00]*$")]
# An environment name reaches a command line and a run tag; it never looks like an option.
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)]
Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]

_CRON_FIELDS = 5  # cronsim also takes six, with seconds first, which Dagster does not


def _when(value: str) -> str:
    if value in ("manual", "change"):
        return value
    try:
        CronSim(value, datetime.now(timezone.utc))
    except CronSimError:
        fields = 0
    else:
        fields = len(value.split())
    if fields != _CRON_FIELDS:
        raise ValueError(
            'is neither manual, change nor a five-field cron schedule, such as "0 6 * * 1-5"'
        )
    return value


When = Annotated[
    str,
    AfterValidator(_when),
    Field(
        description="manual, change (as soon as there is something to do), or a cron schedule",
        examples=["manual", "change", "0 6 * * 1-5"],
    ),
]


class Settings(BaseModel):
    """Base of everything configured: strict, frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Step(Settings):
    when: When = "change"
    variables: tuple[VariableName, ...] = Field(
        default=(),
        strict=False,
        description="environment variables that the program may see; all others are withheld",
    )
    deadline: Duration = Field(
        default="1h",
        validate_default=True,
        description="after this the whole process group is ended",
    )


class CommandStep(_Step):
    """Any program, started in the folder of the exported commit."""

    platform: Literal["command"]
    command: tuple[Argument, ...] = Field(
        min_length=1, strict=False, description="the program and its arguments; no shell"
    )


class MeltanoStep(_Step):
    """`meltano run` of jobs or blocks, in the workspace's environment."""

    platform: Literal["meltano"]
    run: tuple[Block, ...] = Field(
        min_length=1, strict=False, description="job names, or plug-in blocks in their order"
    )
    executable: Argument = Field(
        default="meltano", description="the meltano command, in a virtual environment of its own"
    )


Step: TypeAlias = Annotated[CommandStep | MeltanoStep, Field(discriminator="platform")]
"""How a workspace is run or deployed. One member a platform; see `platforms`."""


class Gate(Settings):
    """What must hold before a promotion may land."""

    environment: EnvironmentName | None = Field(
        default=None,
        description="where a run of the upstream must have succeeded; its own, when not given",
    )


class Credential(Settings):
    """How to log in to the repository's host over HTTPS; the secret stays in a variable."""

    username: Text
    password_variable: VariableName


class Workspace(Settings):
    """A repository, its branch, and the environment its configuration is read in."""

    name: Name
    repository: Text = Field(description="URL or path of the git repository, without credentials")
    branch: Text = "main"
    environment: EnvironmentName
    upstream: Name | None = Field(default=None, description="the workspace that changes come from")
    promote: When = "manual"
    gate: Gate | None = Field(
        default=None, description="conditions on a promotion into this workspace"
    )
    run: Step | None = Field(default=None, description="what a run of this workspace is")
    deploy: Step | None = Field(default=None, description="makes the platform serve a commit")
    credential: Credential | None = None


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
    automation: Automation = Automation()

    @property
    def targets(self) -> tuple[Workspace, ...]:
        """Workspaces that have an upstream."""
        return tuple(w for w in self.workspaces.values() if w.upstream)

    @property
    def sources(self) -> tuple[Workspace, ...]:
        """Workspaces that have none."""
        return tuple(w for w in self.workspaces.values() if not w.upstream)

    def upstream_of(self, target: Workspace) -> Workspace:
        """Return the workspace that `target`'s changes come from."""
        assert target.upstream, f"{target.name} has no upstream"
        return self.workspaces[target.upstream]

    def evidence_environment(self, target: Workspace) -> str | None:
        """Return the environment that `target`'s gate wants a run in, or None without a gate."""
        if target.gate is None:
            return None
        return target.gate.environment or self.upstream_of(target).environment


# --- what we find -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Commit:
    """One commit as its author wrote it; `time` is the committer's, in UTC seconds."""

    id: str
    tree: str
    author: str
    subject: str
    time: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """One changed path: git's status letter (A, D, M, T) and the path, as text."""

    status: str
    path: str


class Outcome(str, Enum):
    """How a run of a workspace ended, as evidence."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class Evidence:
    """The recorded outcome of one run of a workspace at one commit in one environment."""

    workspace: str
    commit: str
    tree: str
    environment: str
    outcome: Outcome
    run_id: str
    time: datetime
    ran: str
    detail: str = ""


class EvidenceBook(Protocol):
    """Where evidence is looked up; orchestration keeps it in Dagster's instance."""

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return all evidence for `commits` of the workspace in the environment, any order."""


class State(str, Enum):
    """Where a condition of a gate stands."""

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True)
class Verdict:
    """One condition's answer: why, who can change it, and the earliest time it can pass."""

    condition: str
    state: State
    reason: str
    who: str
    earliest: datetime | None = None


@dataclass(frozen=True)
class Override:
    """A person's decision to promote although the gate is closed."""

    reason: str


# --- the plan ---------------------------------------------------------------------------------


class Equality(str, Enum):
    """How much the result equals what the upstream holds, strongest first."""

    SAME_COMMIT = "same commit"
    SAME_TREE = "same tree"
    EXPLAINED = "explained"


@dataclass(frozen=True)
class Plan:
    """What a promotion would do, computed without writing to any workspace.

    `base` is the target's head that the plan was made for, None for a branch yet to be made.
    `keeps` are the paths in which the result differs from the upstream's tree; `overwrites` the
    paths where a conflict was settled for the upstream; `tag` is what will record the release.
    """

    project: str
    target: str
    upstream: str
    base: str | None
    upstream_commit: str
    commit: str
    tree: str
    equality: Equality
    commits: tuple[Commit, ...]
    changes: tuple[Change, ...]
    overwrites: tuple[str, ...]
    keeps: tuple[str, ...]
    tag: str
    digest: str = field(default="")


@dataclass(frozen=True)
class Release:
    """One recorded promotion, as the annotated tag in the target's repository says it."""

    tag: str
    plan: str
    target: str
    upstream: str
    upstream_commit: str
    commit: str
    tree: str
    equality: str
    time: datetime
    evidence: tuple[str, ...] = ()
    gate: tuple[str, ...] = ()
    override: str = ""


# --- the answers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class NothingToDo:
    """The target already contains the upstream's commit."""

    target: str
    head: str
    upstream_commit: str


@dataclass(frozen=True)
class Ready:
    """The gate is open: this plan may be published."""

    plan: Plan
    verdicts: tuple[Verdict, ...]
    evidence: tuple[Evidence, ...] = ()
    override: Override | None = None


@dataclass(frozen=True)
class Held:
    """Not yet: the conditions that are not passed say what is waited for."""

    target: str
    verdicts: tuple[Verdict, ...]

    @property
    def reason(self) -> str:
        """One line: what is waited for and why."""
        return "; ".join(v.reason for v in self.verdicts if v.state is not State.PASSED)


@dataclass(frozen=True)
class Rejected:
    """No: this promotion will not happen as it stands; `hint` says what would change that."""

    target: str
    reason: str
    hint: str


_PATHS = 10
"""How many paths a one-line reason names."""


@dataclass(frozen=True)
class Conflicted:
    """No: one side deleted or replaced what the other changed; a person must decide."""

    target: str
    upstream_commit: str
    paths: tuple[str, ...]

    @property
    def reason(self) -> str:
        """One line naming the paths."""
        shown = ", ".join(self.paths[:_PATHS]) + (", …" if len(self.paths) > _PATHS else "")
        return f"the merge cannot be settled for {len(self.paths)} path(s): {shown}"


@dataclass(frozen=True)
class Promoted:
    """The target's branch now is at the planned commit, and the release is recorded."""

    ready: Ready
    release: Release


@dataclass(frozen=True)
class Raced:
    """Someone moved the target between plan and publish; nothing was written."""

    target: str
    expected: str | None


Refusal: TypeAlias = Held | Rejected | Conflicted
Considered: TypeAlias = Ready | NothingToDo | Refusal
Answer: TypeAlias = Promoted | NothingToDo | Refusal | Raced
