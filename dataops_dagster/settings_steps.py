"""What a user configures about how a workspace is run or deployed: one type a platform.

Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from dataops_dagster.settings_base import (
    CRON_FIELDS,
    Argument,
    AssetKey,
    Duration,
    Settings,
    Text,
    VariableName,
    fields_of_cron,
)
from dataops_dagster.settings_tinybird import LocalHost

# A block is an argument of ours to Meltano; it must never pass for an option.
Block = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][^\x00]*$")]


def _when(value: str) -> str:
    if value not in ("manual", "change") and fields_of_cron(value) != CRON_FIELDS:
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
    produces: tuple[AssetKey, ...] = Field(
        default=(),
        strict=False,
        description="keys of assets in Dagster that are materialized when this has succeeded",
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
