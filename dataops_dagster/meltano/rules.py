"""What each rule of the lint of a Meltano project looks for. Pure; none tells a secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from dataops_dagster.meltano.changes import differs
from dataops_dagster.meltano.expanding import names
from dataops_dagster.meltano.model import Layer, Place, Setting
from dataops_dagster.meltano.reading import Key, Reading
from dataops_dagster.meltano.redaction import Secrecy, brief, has_login, secrecy, shown
from dataops_dagster.meltano.values import Table

Found: TypeAlias = Iterator[tuple[Place | None, str]]
"""Places, None for the project as a whole, and what is wrong there."""

_PROVIDED = ("MELTANO_", "DATAOPS_")
"""Variables of these names are Meltano's, or come with every run."""


@dataclass(frozen=True)
class Asked:
    """What is looked at: the project, the environment, those it is compared with.

    `variables` are the names that a run in the environment is given, None if nobody knows; `unset`
    are those of them that have no value as far as we see.
    """

    reading: Reading
    environment: str
    others: Sequence[str] = ()
    variables: Collection[str] | None = None
    unset: Collection[str] = ()

    def settings(self, environment: str) -> Iterator[tuple[Key, Setting]]:
        """Yield what is set for all plug-ins in an environment."""
        for key, configuration in self.reading.configurations.get(environment, {}).items():
            for setting in configuration.settings.values():
                if setting.value is not None:
                    yield key, setting

    def written(self, environment: str) -> Iterator[tuple[Key, Setting]]:
        """Yield what people of this project set."""
        for key, setting in self.settings(environment):
            if setting.layer is not Layer.DEFAULT:
                yield key, setting

    def value(self, environment: str, key: Key, name: str) -> Setting | None:
        """Return a plug-in's setting in an environment, if it is set."""
        found = self.reading.configurations.get(environment, {}).get(key)
        setting = found.settings.get(name) if found else None
        return setting if setting and setting.value is not None else None


# --- what would break -------------------------------------------------------------------------


def unreadable(asked: Asked) -> Found:
    """Find files, and parts of them, that could not be taken in."""
    for problem in asked.reading.problems:
        yield problem.place, problem.reason


def undefined_environment(asked: Asked) -> Found:
    """Find that the environment is not there."""
    if asked.environment not in asked.reading.environments:
        known = ", ".join(asked.reading.environments) or "none"
        yield None, f"the environment {asked.environment} is not defined; defined: {known}"


def no_answer(asked: Asked) -> Found:
    """Find plug-ins whose configuration cannot be worked out."""
    yield from asked.reading.failures(asked.environment)


def missing_variable(asked: Asked) -> Found:
    """Find variables that are needed and that nobody gives to a run."""
    for place, what, variable in _needed(asked):
        if variable not in (asked.variables or ()):
            told = f"{what}: {variable} is not set in {asked.environment}"
            yield place, f"{told}, and would be empty; name it in variables of the step"


def unset_variable(asked: Asked) -> Found:
    """Find variables that are needed, and given to a run, but without a value here."""
    for place, what, variable in _needed(asked):
        if variable in asked.unset:
            yield place, f"{what}: {variable} has no value here; a run without it is refused"


def _needed(asked: Asked) -> Iterator[tuple[Place | None, str, str]]:
    """Yield the variables that the project itself does not set: place, what needs it, name."""
    if asked.variables is None:
        return
    own = asked.reading.environments.get(asked.environment)
    envs = [asked.reading.env, own.env if own else {}]
    there = {name for env in envs for name in env}
    for env in envs:
        for name, value in env.items():
            place = env.at(name) if isinstance(env, Table) else None
            yield from ((place, f"env {name}", v) for v in _open(names(value), there))
    for key, setting in asked.settings(asked.environment):
        # An extra may name settings of its own plug-in, by their variables.
        ours = re.sub(r"\W", "_", key[1]).upper() + "_" if setting.name.startswith("_") else ()
        given = there | asked.reading.given.get(asked.environment, {}).get(key, frozenset())
        for variable in _open(setting.variables, given):
            if not variable.startswith(ours):
                yield setting.place, f"{key[1]} {setting.name}", variable


def _open(variables: Iterable[str], there: Collection[str]) -> Iterator[str]:
    return (v for v in variables if v not in there and not v.startswith(_PROVIDED))


def undefined_plugin_in_job(asked: Asked) -> Found:
    """Find jobs and schedules that name what is not there."""
    known = {name for _, name in asked.reading.plugins}
    for job in asked.reading.jobs.values():
        for block in (block for blocks in job.tasks for block in blocks):
            # `dbt:run` calls a command of a plug-in.
            if block.partition(":")[0] not in known and block not in asked.reading.jobs:
                yield job.place, f"the job {job.name} needs {brief(block)}, which is no plug-in"
    for timer in asked.reading.timers.values():
        for name in timer.runs.split() if timer.kind == "schedule" else ():
            if name not in known and name not in asked.reading.jobs:
                yield timer.place, f"the schedule {timer.name} needs {brief(name)}, which is no job"


def clash(asked: Asked) -> Found:
    """Find settings that have two shapes."""
    for place, what in asked.reading.clashes.get(asked.environment, ()):
        yield place, f"{what} is a mapping in one place, and a single value in another"


def unlocked_plugin(asked: Asked) -> Found:
    """Find plug-ins whose definition is not in the repository."""
    for (type_, name), plugin in asked.reading.plugins.items():
        if plugin.is_unlocked:
            what = f"{name} has no lock file in plugins/{type_}"
            yield plugin.place, f"{what}: a run asks a hub what it is"


# --- secrets ----------------------------------------------------------------------------------


def clear_secret(asked: Asked) -> Found:
    """Find secrets that stand in git, in any environment."""
    yield from _secrets(asked, Secrecy.CERTAIN, "is a secret, and stands in git")
    for plugin in asked.reading.plugins.values():
        if plugin.pip_url and has_login(plugin.pip_url):
            yield plugin.place, f"{plugin.name}: there is a login in its pip_url, in git"


def likely_secret(asked: Asked) -> Found:
    """Find what looks like a secret, and stands in git."""
    yield from _secrets(asked, Secrecy.LIKELY, "looks like a secret, and stands in git")


def _secrets(asked: Asked, sure: Secrecy, told: str) -> Found:
    for environment in asked.reading.environments:
        for (_, plugin), setting in asked.written(environment):
            if secrecy(setting) is sure:
                yield setting.place, f"{plugin} {setting.name}: {told}"
    for place, what, name, value in _beside_settings(asked.reading):
        if secrecy(Setting(name, value, Layer.VARIABLE, what)) is sure:
            yield place, f"{what} {name}: {told}"


def _beside_settings(reading: Reading) -> Iterator[tuple[Place | None, str, str, Any]]:
    """Yield what is written beside settings: place, whose it is, name and value."""
    for (kind, timer, plugin, name), value in reading.properties.items():
        yield reading.timers[kind, timer].place, plugin, name, value
    yield from ((None, "env", name, value) for name, value in reading.env.items())
    for environment in reading.environments.values():
        for name, value in environment.env.items():
            yield environment.place, f"env of {environment.name}", name, value


def shared_credential(asked: Asked) -> Found:
    """Find credentials that are the same in another environment."""
    for key, setting in asked.written(asked.environment):
        for other in asked.others if secrecy(setting) is not Secrecy.NONE else ():
            theirs = asked.value(other, key, setting.name)
            if theirs and not differs(theirs.value, setting.value):
                both = f"{asked.environment} and {other} share a credential"
                yield setting.place, f"{key[1]} {setting.name}: {both}"


# --- what has not the meaning that it seems to have -------------------------------------------


def inherited_setting(asked: Asked) -> Found:
    """Find settings that others override, and this environment does not."""
    for other in asked.others:
        for key, setting in asked.settings(other):
            if setting.layer is not Layer.ENVIRONMENT:
                continue
            own = asked.value(asked.environment, key, setting.name)
            what = f"{key[1]} {setting.name}: {other}"
            if own is None:
                yield setting.place, f"{what} sets it, {asked.environment} does not"
            elif own.layer is not Layer.ENVIRONMENT and differs(own.value, setting.value):
                takes = f"{asked.environment} takes {shown(own)} from {own.layer.value}"
                yield own.place or setting.place, f"{what} overrides it, {takes}"


def undefined_plugin(asked: Asked) -> Found:
    """Find overrides for plug-ins that are not there."""
    for environment in asked.reading.environments.values():
        for (type_, name), place in environment.plugins.items():
            if (type_, name) not in asked.reading.plugins:
                yield place, f"{environment.name} configures {name}, which is none of the {type_}"


def null_override(asked: Asked) -> Found:
    """Find settings that null is to unset, which it does not."""
    for place, what in asked.reading.nulls.get(asked.environment, ()):
        yield place, f"{what}: null unsets nothing; write an empty value, or remove the line"


def duplicate_entry(asked: Asked) -> Found:
    """Find entries that Meltano never looks at."""
    for place, what in asked.reading.duplicates:
        yield place, f"{what} stands here again, and only the first counts"


def no_project_id(asked: Asked) -> Found:
    """Find that the project has no id."""
    if not asked.reading.project_id:
        yield None, "there is no project_id: Meltano makes one, and writes it into the file"


def idle_schedule(asked: Asked) -> Found:
    """Find schedules that never come."""
    for timer in asked.reading.timers.values():
        if not timer.is_valid:
            yield timer.place, f"the {timer.kind} {timer.name} never runs: {brief(timer.cron)}"
