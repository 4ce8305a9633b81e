"""All that a commit says of a Meltano project, in every environment; reads through `Files` only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dataops_dagster.meltano.model import (
    Configuration,
    Environment,
    Job,
    Layer,
    Place,
    Plugin,
    Setting,
    Unreadable,
)
from dataops_dagster.meltano.schedules import Timer
from dataops_dagster.text import one_line

Key: TypeAlias = tuple[str, str]
"""A plug-in's type and name."""

MANIFEST = "meltano.yml"


@dataclass(frozen=True)
class Reading:
    """A project with the configuration of every plug-in by environment.

    `locks` are digests of lock files by their paths; `properties` what pipelines and schedules set at
    run time, by kind and name, plug-in or `env`, and setting. `problems` say what could not be read,
    `failure` why Meltano would answer nothing at all. `duplicates` are what is written to no effect.
    In an environment there are `nulls`, `clashes` of values with mappings, and the names of variables
    that are `given` to single plug-ins by their `env:`.
    """

    plugins: Mapping[Key, Plugin] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    timers: Mapping[tuple[str, str], Timer] = field(default_factory=dict)
    properties: Mapping[tuple[str, str, str, str], Any] = field(default_factory=dict)
    env: Mapping[str, Any] = field(default_factory=dict)
    project_id: str | None = None
    configurations: Mapping[str, Mapping[Key, Configuration]] = field(default_factory=dict)
    problems: tuple[Unreadable, ...] = ()
    failure: str = ""
    duplicates: tuple[tuple[Place, str], ...] = ()
    nulls: Mapping[str, tuple[tuple[Place, str], ...]] = field(default_factory=dict)
    clashes: Mapping[str, tuple[tuple[Place, str], ...]] = field(default_factory=dict)
    given: Mapping[str, Mapping[Key, frozenset[str]]] = field(default_factory=dict)

    def failures(self, environment: str) -> Iterator[tuple[Place, str]]:
        """Yield the plug-ins whose configuration cannot be worked out, but for the whole's failure."""
        for (_, name), found in self.configurations.get(environment, {}).items():
            failure = found.failure or found.extras_failure
            if failure and failure != self.failure:
                yield found.plugin.place, f"{name}: Meltano would fail: {failure}"

    def told_problems(self, environment: str) -> tuple[str, ...]:
        """Return what could not be read or worked out, each with its place, on a line."""
        found = [(problem.place, problem.reason) for problem in self.problems]
        return tuple(
            f"{one_line(place.path)}:{place.line}: {one_line(reason)}"
            for place, reason in (*found, *self.failures(environment))
        )

    def settings(self, environment: str) -> Mapping[tuple[str, str], tuple[Setting, str]]:
        """Return what is set in an environment, by plug-in and setting, each with its layer in words."""
        return dict(self._settings(environment))

    def _settings(self, environment: str) -> Iterator[tuple[tuple[str, str], tuple[Setting, str]]]:
        for (_, plugin), configuration in self.configurations.get(environment, {}).items():
            for name, setting in configuration.settings.items():
                if setting.value is None:
                    continue
                origin = f" of {setting.plugin}" if setting.plugin != plugin else ""
                yield (plugin, name), (setting, setting.layer.value + origin)
        for (kind, timer, plugin, name), value in self.properties.items():
            setting = Setting(name, value, Layer.VARIABLE, plugin)
            yield (plugin, f"{name} (in {timer})"), (setting, f"{kind} {timer}")
        own = self.environments.get(environment)
        for layer, env in (("project", self.env), ("environment", own.env if own else {})):
            for name, value in env.items():
                yield (
                    ("env", name),
                    (Setting(name, value, Layer.VARIABLE, "env"), f"env of the {layer}"),
                )


EMPTY = Reading()
