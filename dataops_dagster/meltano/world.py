"""What all plug-ins of a project share in one environment: its variables, and how they expand. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dataops_dagster.meltano import builtin
from dataops_dagster.meltano.casting import text
from dataops_dagster.meltano.env import Env, Expansion, variable_name
from dataops_dagster.meltano.environments import EnvironmentEntry
from dataops_dagster.meltano.expanding import Missing
from dataops_dagster.meltano.level import Conflict, Level
from dataops_dagster.meltano.nesting import flatten
from dataops_dagster.meltano.project import Project

_ROOT, _SYSTEM = "MELTANO_PROJECT_ROOT", "MELTANO_SYS_DIR_ROOT"


class Secrets(str, Enum):
    """Whether the values of sensitive settings are there, or stars as `meltano config` prints."""

    SHOWN = "shown"
    STARRED = "starred"


@dataclass(frozen=True)
class World:
    """A project in one environment: `env` are the variables that every plug-in starts from."""

    project: Project
    environment: EnvironmentEntry | None
    expansion: Expansion
    env: Env = field(default_factory=Env)


def world_of(
    project: Project,
    environment: str | None,
    *,
    variables: Mapping[str, str] | None,
    dotenv: Mapping[str, str] | None,
    secrets: Secrets,
) -> World:
    """Return what all plug-ins share; raises Conflict where Meltano would answer for none."""
    entry = project.environment_entries.get(environment) if environment is not None else None
    if environment is not None and entry is None:
        raise Conflict(f"the environment {environment} is not defined")
    env = Env().over(variables or {}).over(_own(environment, variables))
    env = env.over(
        {str(k): v if v is None else str(v) for k, v in project.env.items()}, project.env
    )
    level = Level(
        label="meltano",
        definitions=builtin.SETTINGS,
        env=env,
        base=flatten(project.settings),
        prefixes=("meltano",),
        expansion=Expansion(
            is_static=variables is None, dotenv=dict(dotenv or {}), stars=secrets is Secrets.STARRED
        ),
    )
    expansion = level.expansion.with_missing(_strictness(level))
    level.expansion = expansion
    own: dict[str, Any] = {}
    for definition in builtin.SETTINGS:
        answer = level.answer(definition)
        if answer.value is not None:
            own[variable_name("meltano", definition.name)] = text(definition, answer.value)
    return World(project, entry, expansion, env.over(own))


def _own(environment: str | None, variables: Mapping[str, str] | None) -> dict[str, str]:
    """Return what Meltano says of itself; where its folder is unknown the name stays."""
    given = variables or {}
    root = given.get(_ROOT, f"${_ROOT}")
    return {
        _ROOT: root,
        _SYSTEM: given.get(_SYSTEM, f"{root}/.meltano"),
        "MELTANO_ENVIRONMENT": environment or "",
        "MELTANO_USER_AGENT": given.get("MELTANO_USER_AGENT", "Meltano/4"),
    }


def _strictness(level: Level) -> Missing:
    """Say what stands for a missing variable; the setting itself is never expanded."""
    value = level.found(builtin.STRICT).value
    try:
        if isinstance(value, str):
            return Missing(int(value.lower() in {"true", "1", "yes", "on"}))
        return Missing(int(value))
    except (TypeError, ValueError):
        raise Conflict(f"{builtin.STRICT.name} is neither true nor false") from None
