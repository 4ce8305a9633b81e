"""The words of a Meltano project as frozen values; reads nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


@dataclass(frozen=True, order=True)
class Place:
    """Where something is written: a file of the project, and a line that counts from 1."""

    path: str
    line: int


@dataclass(frozen=True)
class Unreadable:
    """A file, or a part of one, that could not be taken in; the rest was."""

    place: Place
    reason: str


class Layer(str, Enum):
    """Where the value of a setting comes from, the strongest first."""

    VARIABLE = "variable"
    DOTENV = "dotenv"
    ENVIRONMENT = "environment"
    BASE = "base"
    DEFAULT = "default"


@dataclass(frozen=True)
class Setting:
    """A setting's value in one environment.

    `name` is dotted; an extra's begins with an underscore. `plugin` is the plug-in in whose entry
    or definition the value stands: the parent's name where it is inherited. `variables` are those
    that the written value names. `value` is what the project says, with the variables put in only
    if values for them were given.
    """

    name: str
    value: Any
    layer: Layer
    plugin: str
    kind: str | None = None
    sensitive: bool = False
    variables: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True)
class Plugin:
    """A plug-in of the project; a mapping is one of type `mappers` with the mapper as `parent`.

    `definition` is the lock file's path, or None for a custom plug-in, an inheriting one, and one
    that only a hub knows (`is_unlocked`).
    """

    type: str
    name: str
    place: Place
    namespace: str = ""
    variant: str | None = None
    pip_url: str | None = None
    executable: str | None = None
    inherit_from: str | None = None
    parent: str | None = None
    capabilities: tuple[str, ...] = ()
    definition: str | None = None
    is_unlocked: bool = False


@dataclass(frozen=True)
class Environment:
    """A named configuration, and the plug-ins, as (type, name), that it has an entry for."""

    name: str
    place: Place
    plugins: Mapping[tuple[str, str], Place] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    state_id_suffix: str | None = None


@dataclass(frozen=True)
class Job:
    """A job: for each task the blocks in their order."""

    name: str
    tasks: tuple[tuple[str, ...], ...]
    place: Place


@dataclass(frozen=True)
class Schedule:
    """When a job, or an extractor and a loader, is run; `interval` is a cron or a word such as @daily."""

    name: str
    interval: str | None
    runs: tuple[str, ...]
    place: Place
    env: Mapping[str, Any] = field(default_factory=dict)


class Shape(str, Enum):
    """How a plug-in takes its configuration: as nested maps, by dotted names, or as nested texts."""

    NESTED = "nested"
    FLAT = "flat"
    TEXTS = "texts"


@dataclass(frozen=True)
class Configuration:
    """All settings of a plug-in in one environment (None: in none), by their names.

    `failure` says why Meltano itself would answer nothing for the settings, and `extras_failure`
    why for the extras; those are missing then. If that is because of the whole project, they are
    here all the same, as far as they could be read.
    """

    plugin: Plugin
    environment: str | None
    settings: Mapping[str, Setting]
    failure: str = ""
    extras_failure: str = ""
    shape: Shape = Shape.NESTED
