"""What a user configures about Tinybird: which workspace of Tinybird's one of ours is, and its rules.

Secrets stay in environment variables; here stand only their names. Nothing here does I/O.
"""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from dataops_dagster.settings_base import Argument, Duration, Settings, Text, VariableName

RESOURCE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""A name as Tinybird takes it, of a workspace or a resource: it becomes part of paths in URLs."""

ResourceName = Annotated[str, Field(pattern=RESOURCE_PATTERN, max_length=120)]


def is_loopback(host: str) -> bool:
    """Say whether a host name is this very machine's."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _host(value: str) -> str:
    try:
        parts = urlsplit(value)
        known = parts.port is None or parts.port > 0
    except ValueError:
        parts, known = urlsplit(""), False
    extra = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    is_safe = parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
    if not (known and is_safe and parts.hostname) or extra:
        raise ValueError("write https://HOST; http is for this machine only, for a local Tinybird")
    return value.rstrip("/")


def _local(value: str) -> str:
    parts = urlsplit(value)
    if not re.fullmatch(r"http://[A-Za-z0-9._-]+:[0-9]{1,5}", value) or not parts.hostname:
        raise ValueError("write http://HOST:PORT, as Tinybird Local is reached")
    return value


def _folder(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("write a folder below the repository's top, such as tinybird")
    return str(path)


Host = Annotated[
    Text, AfterValidator(_host), Field(examples=["https://api.us-east.aws.tinybird.co"])
]
LocalHost = Annotated[Text, AfterValidator(_local), Field(examples=["http://localhost:7181"])]
Folder = Annotated[Text, AfterValidator(_folder), Field(examples=["tinybird"])]


class Dialect(str, Enum):
    """Which of Tinybird's two command lines, both called tb, knows the workspace."""

    FORWARD = "forward"
    CLASSIC = "classic"


class Fixtures(str, Enum):
    """When the data project's fixtures are appended."""

    NEVER = "never"
    WHEN_EMPTY = "when_empty"


class Destructive(str, Enum):
    """What becomes of a deployment that deletes something, from the strictest to the most lenient."""

    REFUSE = "refuse"
    APPROVE = "approve"
    ALLOWED = "allowed"


class Share(Settings):
    """One data source that another workspace of Tinybird's reads."""

    datasource: ResourceName = Field(description="the data source, by its name")
    workspace: ResourceName = Field(description="the other workspace of Tinybird's, by its name")


class Tinybird(Settings):
    """Which workspace of Tinybird's this is, how to log in to it, and what may happen to it."""

    host: Host = Field(description="where the region's API is")
    workspace: ResourceName = Field(description="its name at Tinybird; the token must belong to it")
    workspace_id: Text | None = Field(
        default=None, description="its id; pinned, a workspace that was made anew is refused"
    )
    token_variable: VariableName = Field(description="the variable that holds its token")
    user_token_variable: VariableName | None = Field(
        default=None,
        description="the variable that holds a user token: for sharing, creating and recreating",
    )
    dialect: Dialect = Field(
        default=Dialect.FORWARD,
        strict=False,
        description="which of the two command lines: forward, or classic",
    )
    executable: Argument = Field(
        default="tb", description="that command line, in a virtual environment of its own"
    )
    path: Folder = Field(
        default=".", description="the data project's folder, from the repository's top"
    )
    fixtures: Fixtures = Field(
        default=Fixtures.NEVER,
        strict=False,
        description="when_empty: appended after a deployment, if every data source that has"
        " fixtures is empty",
    )
    destructive: Destructive = Field(
        default=Destructive.REFUSE,
        strict=False,
        description="a deployment that deletes something, or may lose data: refuse it, ask for an approval of its"
        " plan, or let it happen",
    )
    recreate: bool = Field(
        default=False, description="whether it may be dropped and made anew from the data project"
    )
    production: bool | None = Field(
        default=None,
        description="whether people are served by it; it is production unless this says false",
    )
    shares: tuple[Share, ...] = Field(
        default=(),
        strict=False,
        description="data sources of this one that others read; a deployment without them fails."
        " Classic's are shared then, if there is a user token",
    )
    uses: tuple[Share, ...] = Field(
        default=(),
        strict=False,
        description="data sources of others that this one reads; they must be shared before",
    )

    @property
    def is_production(self) -> bool:
        """Whether people may be served by it: nobody guesses from names or gates that they are not."""
        return self.production is not False

    @property
    def place(self) -> tuple[str, str]:
        """What two workspaces may not share: the host as it is reached, and the name."""
        parts = urlsplit(self.host)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{'localhost' if is_loopback(host) else host}:{port}", self.workspace


class Branches(Settings):
    """The ephemeral branches of Tinybird's that we make: to try something, and to remove it."""

    prefix: ResourceName = Field(
        default="dataops_ci", description="what their names begin with; no other is touched"
    )
    ttl: Duration = Field(
        default="24h", validate_default=True, description="after this one that was left is removed"
    )
    max: int = Field(default=3, ge=1, le=20, description="how many there may be at a time")
    last_partition: bool = Field(
        default=False,
        description="begin with the rows of the workspace's last partitions, not with the fixtures",
    )


class TinybirdProject(Settings):
    """What holds for all of a project's workspaces at Tinybird."""

    branches: Branches = Field(default_factory=Branches)
