"""What is wrong, or suspicious, in a Meltano project for one environment; pure, tells no secret.

Each rule can be silenced by its id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from dataops_dagster.gate.lint import Finding
from dataops_dagster.meltano.changes import differs
from dataops_dagster.meltano.model import Layer, Place, Setting
from dataops_dagster.meltano.reading import MANIFEST, Key, Reading
from dataops_dagster.meltano.redaction import Secrecy, brief, secrecy, shown
from dataops_dagster.text import one_line

_LONGEST = 300
_PROVIDED = ("MELTANO_", "DATAOPS_")
"""Variables of these names are Meltano's, or come with every run."""


class Severity(str, Enum):
    """Whether what a rule finds stands in the way of a promotion, or is only told."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Asked:
    """What is looked at: the project, the environment, those it is compared with.

    `variables` are the names that a run in the environment has; None if nobody knows.
    """

    reading: Reading
    environment: str
    others: Sequence[str]
    variables: Collection[str] | None

    def settings(self, environment: str) -> Iterator[tuple[Key, Setting]]:
        """Yield the settings of all plug-ins in an environment."""
        for key, configuration in self.reading.configurations.get(environment, {}).items():
            yield from ((key, setting) for setting in configuration.settings.values())

    def value(self, environment: str, key: Key, name: str) -> Setting | None:
        """Return a plug-in's setting in an environment."""
        found = self.reading.configurations.get(environment, {}).get(key)
        return found.settings.get(name) if found else None


Found: TypeAlias = Iterator[tuple[Place | None, str]]


@dataclass(frozen=True)
class Rule:
    """How grave it is what `look` finds."""

    severity: Severity
    look: Callable[[Asked], Found]


def findings(
    reading: Reading,
    environment: str,
    others: Iterable[str] = (),
    *,
    variables: Collection[str] | None = None,
    ignore: Collection[str] = (),
) -> list[Finding]:
    """Return what the rules say of a project in `environment`, in the rules' order.

    It is compared with `others`, the environments of other workspaces. `variables` are the names of
    those that a run there has; None asks nothing about them.
    """
    known = [name for name in others if name in reading.environments and name != environment]
    asked = Asked(reading, environment, known, variables)
    found = [
        Finding(id_, place.path, place.line, one_line(reason)[:_LONGEST])
        for id_, rule in RULES.items()
        if id_ not in ignore
        for place, reason in (
            (place or Place(MANIFEST, 1), reason) for place, reason in rule.look(asked)
        )
    ]
    return list(dict.fromkeys(found))


def new(after: Iterable[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return the findings that were not there before, wherever their line was."""
    known = {(finding.rule, finding.path, finding.reason) for finding in before}
    return [f for f in after if (f.rule, f.path, f.reason) not in known]


def is_error(finding: Finding) -> bool:
    """Say whether a finding stands in the way of a promotion."""
    return RULES[finding.rule].severity is Severity.ERROR


# --- the rules --------------------------------------------------------------------------------


def _unreadable(asked: Asked) -> Found:
    for problem in asked.reading.problems:
        yield problem.place, problem.reason


def _undefined_environment(asked: Asked) -> Found:
    if asked.environment not in asked.reading.environments:
        known = ", ".join(asked.reading.environments) or "none"
        yield None, f"the environment {asked.environment} is not defined; defined: {known}"


def _no_answer(asked: Asked) -> Found:
    for (_, name), found in asked.reading.configurations.get(asked.environment, {}).items():
        failure = found.failure or found.extras_failure
        if failure and failure != asked.reading.failure:  # that of the whole is told as a problem
            yield found.plugin.place, f"{name}: Meltano would fail: {failure}"


def _missing_variable(asked: Asked) -> Found:
    if asked.variables is None:
        return
    own = asked.reading.environments.get(asked.environment)
    there = {*asked.variables, *asked.reading.env, *(own.env if own else {})}
    for (_, plugin), setting in asked.settings(asked.environment):
        # An extra may name settings of its own plug-in, by their variables.
        provided = (*_PROVIDED, *([_variable(plugin)] if setting.name.startswith("_") else []))
        for variable in setting.variables:
            if variable not in there and not variable.startswith(provided):
                yield (
                    setting.place,
                    (
                        f"{plugin} {setting.name}: {variable} is not set in {asked.environment}, and"
                        " would be empty"
                    ),
                )


def _variable(plugin: str) -> str:
    """Return what the names of the variables of a plug-in's settings begin with."""
    return re.sub(r"\W", "_", plugin).upper() + "_"


def _undefined_plugin_in_job(asked: Asked) -> Found:
    known = {name for _, name in asked.reading.plugins}
    for job in asked.reading.jobs.values():
        for block in (block for blocks in job.tasks for block in blocks):
            # `dbt:run` calls a command of a plug-in.
            if block.partition(":")[0] not in known and block not in asked.reading.jobs:
                yield job.place, f"the job {job.name} needs {block}, which is no plug-in"


def _undefined_plugin(asked: Asked) -> Found:
    for environment in asked.reading.environments.values():
        for (type_, name), place in environment.plugins.items():
            if (type_, name) not in asked.reading.plugins:
                yield place, f"{environment.name} configures {name}, which is none of the {type_}"


def _inherited_setting(asked: Asked) -> Found:
    for other in asked.others:
        for key, setting in asked.settings(other):
            if setting.layer is not Layer.ENVIRONMENT:
                continue
            own = asked.value(asked.environment, key, setting.name)
            if own and own.layer is Layer.ENVIRONMENT:
                continue
            if own is None:
                yield (
                    setting.place,
                    (f"{key[1]} {setting.name}: {other} sets it, {asked.environment} does not"),
                )
            elif differs(own.value, setting.value):
                yield (
                    own.place or setting.place,
                    (
                        f"{key[1]} {setting.name}: {other} overrides it, {asked.environment} takes"
                        f" {shown(own)} from {own.layer.value}"
                    ),
                )


def _shared_credential(asked: Asked) -> Found:
    for key, setting in _written(asked, asked.environment):
        if secrecy(setting) is Secrecy.NONE:
            continue
        for other in asked.others:
            theirs = asked.value(other, key, setting.name)
            if theirs and not differs(theirs.value, setting.value):
                yield (
                    setting.place,
                    (
                        f"{key[1]} {setting.name}: {asked.environment} and {other} share a credential"
                    ),
                )


def _clear_secret(asked: Asked) -> Found:
    yield from _secrets(asked, Secrecy.CERTAIN, "is a secret, and stands in git")


def _likely_secret(asked: Asked) -> Found:
    yield from _secrets(asked, Secrecy.LIKELY, "looks like a secret, and stands in git")


def _secrets(asked: Asked, sure: Secrecy, told: str) -> Found:
    for environment in asked.reading.environments:
        for (_, plugin), setting in _written(asked, environment):
            if secrecy(setting) is sure:
                yield setting.place, f"{plugin} {setting.name}: {told}"
    for (pipeline, plugin, name), value in asked.reading.properties.items():
        if secrecy(Setting(name, value, Layer.VARIABLE, plugin)) is sure:
            yield Place(f"pipelines/{pipeline}.yml", 1), f"{plugin} {name}: {told}"


def _written(asked: Asked, environment: str) -> Iterator[tuple[Key, Setting]]:
    """Yield the settings that people of this project wrote."""
    for key, setting in asked.settings(environment):
        if setting.layer is not Layer.DEFAULT:
            yield key, setting


def _null_override(asked: Asked) -> Found:
    for place, what in asked.reading.nulls.get(asked.environment, ()):
        yield place, f"{what}: null unsets nothing; write an empty value, or remove the line"


def _duplicate_entry(asked: Asked) -> Found:
    for place, what in asked.reading.duplicates:
        yield place, f"{what} stands here again, and only the first counts"


def _clash(asked: Asked) -> Found:
    for place, what in asked.reading.clashes.get(asked.environment, ()):
        yield place, f"{what} is a mapping in one place, and a single value in another"


def _unlocked_plugin(asked: Asked) -> Found:
    for (type_, name), plugin in asked.reading.plugins.items():
        if plugin.is_unlocked:
            yield (
                plugin.place,
                f"{name} has no lock file in plugins/{type_}: a run asks a hub what it is",
            )


def _project_id(asked: Asked) -> Found:
    if not asked.reading.project_id:
        yield None, "there is no project_id: Meltano makes one, and writes it into the file"


def _schedule(asked: Asked) -> Found:
    for timer in asked.reading.timers.values():
        if timer.cron and not timer.is_valid:
            yield timer.place, f"the {timer.kind} {timer.name} never runs: {brief(timer.cron)}"


RULES: Mapping[str, Rule] = {
    "unreadable": Rule(Severity.ERROR, _unreadable),
    "environment": Rule(Severity.ERROR, _undefined_environment),
    "no-answer": Rule(Severity.ERROR, _no_answer),
    "missing-variable": Rule(Severity.ERROR, _missing_variable),
    "job-plugin": Rule(Severity.ERROR, _undefined_plugin_in_job),
    "clash": Rule(Severity.ERROR, _clash),
    "unlocked-plugin": Rule(Severity.ERROR, _unlocked_plugin),
    "clear-secret": Rule(Severity.ERROR, _clear_secret),
    "likely-secret": Rule(Severity.WARNING, _likely_secret),
    "shared-credential": Rule(Severity.WARNING, _shared_credential),
    "inherited-setting": Rule(Severity.WARNING, _inherited_setting),
    "unknown-plugin": Rule(Severity.WARNING, _undefined_plugin),
    "null-override": Rule(Severity.WARNING, _null_override),
    "duplicate-entry": Rule(Severity.WARNING, _duplicate_entry),
    "project-id": Rule(Severity.WARNING, _project_id),
    "schedule": Rule(Severity.WARNING, _schedule),
}
"""The rules by their ids."""
