"""The words that a user configures, as strict and frozen types; `dataops.yaml` is read into them.

The glossary in `docs/glossary.md` says what each word means. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timezone
from enum import Enum
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from typing_extensions import Self

from dataops_dagster.settings_base import Argument, Duration, Name, Settings, Text, VariableName
from dataops_dagster.settings_tinybird import LocalHost, Tinybird, TinybirdProject

# A block is an argument of ours to Meltano; it must never pass for an option.
Block = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][^\x00]*$")]
# An environment name reaches a command line and a run tag; it never looks like an option.
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=60)]
JobName = Annotated[
    str, Field(pattern=r"^([^:\x00-\x1f\x7f]+:)?[A-Za-z0-9_]+$", examples=["staging_elt"])
]
Predicate = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", examples=["shop.policy:may_land"]
    ),
]

_CRON_FIELDS = 5  # cronsim also takes six, with seconds first, which Dagster does not


def _fields_of_cron(value: str) -> int:
    try:
        next(CronSim(value, datetime.now(timezone.utc)))
    except (CronSimError, StopIteration):  # StopIteration: it never comes, as on 30 February
        return 0
    return len(value.split())


def _when(value: str) -> str:
    if value not in ("manual", "change") and _fields_of_cron(value) != _CRON_FIELDS:
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


class _AnyStep(Settings):
    when: When = "change"
    deadline: Duration = Field(
        default="1h",
        validate_default=True,
        description="after this the whole process group, or the platform's job, is ended",
    )


class _Step(_AnyStep):
    variables: tuple[VariableName, ...] = Field(
        default=(),
        strict=False,
        description="environment variables that the program may see; all others are withheld",
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
    streams: dict[Block, Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]] = Field(
        default_factory=dict,
        description="what extractors move, by their names: each stream becomes an asset",
        examples=[{"tap-auth0": ["users"]}],
    )
    executable: Argument = Field(
        default="meltano", description="the meltano command, in a virtual environment of its own"
    )


MELTANO_CLOUD_URL = "https://app.meltano.com/api"
MELTANO_CLOUD_IDENTITY = "https://identity.matatika.com"
MELTANO_CLOUD_TOKEN = "MELTANO_CLOUD_TOKEN"  # noqa: S105  # a variable's name


def _api_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_safe = parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost", "::1")
        is_plain = not (parts.username or parts.password or parts.query or parts.fragment)
        is_one = bool(parts.hostname and parts.port != 0) and value.isprintable()
    except ValueError:
        is_safe = is_plain = is_one = False
    if not (is_safe and is_plain and is_one and parts.scheme in ("https", "http")):
        raise ValueError("is no URL of an API: write https://HOST/PATH, without credentials")
    return value.rstrip("/")


ApiUrl = Annotated[str, AfterValidator(_api_url)]


class MeltanoCloudStep(_AnyStep):
    """A deployment by Meltano Cloud, formerly Matatika, of its workspace's repository."""

    platform: Literal["meltano_cloud"]
    workspace: Text = Field(description="the name or the id of the workspace on Meltano Cloud")
    url: ApiUrl = Field(default=MELTANO_CLOUD_URL, description="where its API is")
    token_variable: VariableName = Field(
        default=MELTANO_CLOUD_TOKEN,
        description="the environment variable that holds the API's token",
    )
    client_id_variable: VariableName | None = Field(
        default=None,
        description="with client_secret_variable, in place of a token: the variable that holds an"
        " API key's client id",
    )
    client_secret_variable: VariableName | None = Field(
        default=None, description="the variable that holds an API key's client secret"
    )
    identity_url: ApiUrl = Field(
        default=MELTANO_CLOUD_IDENTITY, description="where an API key is good for a token"
    )


class TinybirdStep(_Step):
    """As deploy: puts the commit's data project into the workspace at Tinybird. As run: its tests."""

    platform: Literal["tinybird"]
    local: LocalHost = Field(
        default="http://localhost:7181",
        description="where Tinybird Local answers, in which Forward's tests run",
    )


Step: TypeAlias = Annotated[
    CommandStep | MeltanoStep | MeltanoCloudStep | TinybirdStep, Field(discriminator="platform")
]
"""How a workspace is run or deployed. One member a platform; see `platforms`."""

STEPS: Mapping[str, type[_AnyStep]] = {
    "command": CommandStep,
    "meltano": MeltanoStep,
    "meltano_cloud": MeltanoCloudStep,
    "tinybird": TinybirdStep,
}
"""The same by the platform's name, as it stands in the file."""


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


_PATTERN_PARTS = re.compile(r"(?!/)(?!.*//)[^\x00-\x1f\x7f]+")


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


def _cron(value: str) -> str:
    if _fields_of_cron(value) != _CRON_FIELDS:
        raise ValueError('is no five-field cron schedule, such as "0 9 * * 1-5"')
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is no time zone, such as Europe/Zurich") from None
    return value


_YEARS = range(1970, 3000)


def _moment(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("write a date or a time, such as 2026-12-24 or 2026-12-24 18:00") from None
    if found.year not in _YEARS:
        raise ValueError(f"write a year from {_YEARS[0]} to {_YEARS[-1]}")
    return found


Cron = Annotated[str, AfterValidator(_cron), Field(examples=["0 9 * * 1-5"])]
TimeZone = Annotated[str, AfterValidator(_time_zone), Field(examples=["Europe/Zurich"])]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-12-24", "2026-12-24 18:00"]}),
]


class Period(Settings):
    """A stretch of time: once (`from`, `to`) or again and again (`cron`, `lasts`)."""

    begin: Moment | None = Field(default=None, alias="from", description="when it begins")
    end: Moment | None = Field(default=None, alias="to", description="when it is over")
    cron: Cron | None = Field(default=None, description="when it begins, again and again")
    lasts: Duration | None = Field(default=None, description="how long, each time cron says so")
    time_zone: TimeZone = Field(
        default="UTC", description="where cron, and moments that name no offset, are read"
    )
    reason: Text | None = Field(default=None, description="why; shown to whoever is held up")

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        once, again = (self.begin, self.end), (self.cron, self.lasts)
        if not ((all(once) and again == (None, None)) or (all(again) and once == (None, None))):
            raise ValueError("say from and to, or cron and lasts")
        if self.begin and self.end and self.at(self.begin) >= self.at(self.end):
            raise ValueError("is over before it begins")
        return self

    def at(self, moment: datetime) -> datetime:
        """Return a moment in UTC, where alone moments compare: a clock is put forth and back."""
        zone = moment.tzinfo or ZoneInfo(self.time_zone)
        return moment.replace(tzinfo=zone).astimezone(timezone.utc)


class Approvals(Settings):
    """People's yes to the exact plan."""

    quorum: int = Field(default=1, ge=1, le=20, description="how many different people are needed")
    expires: Duration = Field(
        default="7d", validate_default=True, description="how long an approval counts"
    )
    exclude_authors: bool = Field(
        default=True, description="who wrote one of the commits does not count"
    )
    allowed_signers: Text | None = Field(
        default=None,
        description="count only tags signed by a key in this file of ssh's; beside dataops.yaml",
    )


class LintLevel(str, Enum):
    """From which findings on the gate is closed."""

    ERROR = "error"
    WARNING = "warning"


class Lint(Settings):
    """What must be well formed in what lands."""

    level: LintLevel = Field(
        default=LintLevel.ERROR,
        strict=False,
        description="error: what would break closes the gate, what is suspicious is told; warning:"
        " that closes it, too",
    )

    ignore: tuple[Text, ...] = Field(
        default=(), strict=False, description="rules that do not count, by their ids"
    )


class TreeRule(str, Enum):
    """How equal what lands must be to what a run proved, from the strictest to the most lenient."""

    SAME = "same"
    EXPLAINED = "explained"
    RETEST = "retest"
    ANY = "any"


class FanIn(str, Enum):
    """In how many of several upstreams a run must have succeeded."""

    ALL = "all"
    ANY = "any"


def _not_empty(value: Any) -> Any:
    # Commented out line by line, a gate would otherwise stand open in silence.
    if value is None:
        raise ValueError("is empty: write {} for its defaults, or remove the key")
    return value


class Gate(Settings):
    """What must hold before a promotion may land."""

    environment: EnvironmentName | None = Field(
        default=None,
        description="where a run of the upstream must have succeeded; its own, when not given",
    )
    runs: int = Field(
        default=1, ge=0, le=10, description="how many runs must have succeeded; 0 asks for none"
    )
    max_age: Duration | None = Field(
        default=None, description="a run that is older than this proves nothing any more"
    )
    jobs: tuple[JobName, ...] = Field(
        default=(),
        strict=False,
        description="Dagster jobs of your own whose runs on the deployed upstream count as its runs:"
        " JOB, or LOCATION:JOB",
    )
    tested_tree: TreeRule = Field(
        default=TreeRule.EXPLAINED,
        strict=False,
        description="what may differ from what was run. same: nothing; explained: what the target"
        " keeps; retest: anything, once the merge itself was run; any: anything, only named",
    )
    upstreams: FanIn = Field(
        default=FanIn.ALL,
        strict=False,
        description="of several upstreams, whether all or any must have proved what lands",
    )
    soak: Duration | None = Field(
        default=None, description="how long ago the first of the successes must be"
    )
    windows: tuple[Period, ...] = Field(
        default=(), strict=False, description="promotions land within these periods only"
    )
    freezes: tuple[Period, ...] = Field(
        default=(), strict=False, description="no promotion lands within these periods"
    )
    approvals: Annotated[Approvals | None, BeforeValidator(_not_empty)] = Field(
        default=None, description="people's yes to the exact plan"
    )
    lint: Annotated[Lint | None, BeforeValidator(_not_empty)] = Field(
        default=None, description="what lands must have no conflict markers and well-formed YAML"
    )
    predicate: Predicate | None = Field(
        default=None,
        description="a function of your own, as module:function; see docs/gate.md",
    )


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
    gate: Annotated[Gate | None, BeforeValidator(_not_empty)] = Field(
        default=None, description="conditions on a promotion into this workspace"
    )
    run: Step | None = Field(default=None, description="what a run of this workspace is")
    deploy: Step | None = Field(default=None, description="makes the platform serve a commit")
    tinybird: Annotated[Tinybird | None, BeforeValidator(_not_empty)] = Field(
        default=None, description="which workspace of Tinybird's this is"
    )
    credential: Credential | None = None
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
    automation: Automation = Field(default_factory=Automation)
    tinybird: TinybirdProject = Field(default_factory=TinybirdProject)

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
        return self.upstreams_of(target)[0]

    def upstreams_of(self, target: Workspace) -> tuple[Workspace, ...]:
        """Return the workspaces that `target`'s changes may come from, the first of them first."""
        assert target.upstream, f"{target.name} has no upstream"
        return tuple(self.workspaces[name] for name in target.upstream)

    def is_production(self, workspace: Workspace) -> bool:
        """Say whether a workspace is the end of the way: behind a gate, and nothing goes on from it."""
        return workspace.gate is not None and not self.targets_of(workspace)

    def targets_of(self, upstream: Workspace) -> tuple[Workspace, ...]:
        """Return the workspaces that `upstream`'s changes may go to."""
        return tuple(w for w in self.workspaces.values() if upstream.name in w.upstream)
