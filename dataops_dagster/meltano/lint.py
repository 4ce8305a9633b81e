"""What is wrong, or suspicious, in a Meltano project for one environment; pure, tells no secret.

Each rule can be silenced by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from dataops_dagster.gate.lint import Finding
from dataops_dagster.meltano import rules
from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.reading import MANIFEST, Reading
from dataops_dagster.meltano.rules import Asked, Found
from dataops_dagster.text import one_line

_LONGEST = 300
_WHOLE = Place(MANIFEST, 1)


class Severity(str, Enum):
    """Whether what a rule finds stands in the way of a promotion, or is only told."""

    ERROR = "error"
    WARNING = "warning"


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
    unset: Collection[str] = (),
    ignore: Collection[str] = (),
) -> list[Finding]:
    """Return what the rules say of a project in `environment`, in the rules' order.

    It is compared with `others`, the environments of other workspaces. `variables` are the names of
    those that a run there is given, None asks nothing about them; `unset` have no value here.
    """
    known = [name for name in others if name in reading.environments and name != environment]
    asked = Asked(reading, environment, known, variables, unset)
    found = (
        Finding(id_, one_line(place.path), place.line, one_line(reason)[:_LONGEST])
        for id_, rule in RULES.items()
        if id_ not in ignore
        for place, reason in ((place or _WHOLE, reason) for place, reason in rule.look(asked))
    )
    return list(dict.fromkeys(found))


def new(after: Iterable[Finding], before: Iterable[Finding]) -> list[Finding]:
    """Return the findings that were not there before, wherever their line was."""
    known = {(finding.rule, finding.path, finding.reason) for finding in before}
    return [f for f in after if (f.rule, f.path, f.reason) not in known]


def is_error(finding: Finding) -> bool:
    """Say whether a finding stands in the way of a promotion."""
    return RULES[finding.rule].severity is Severity.ERROR


RULES: Mapping[str, Rule] = {
    "unreadable": Rule(Severity.ERROR, rules.unreadable),
    "environment": Rule(Severity.ERROR, rules.undefined_environment),
    "no-answer": Rule(Severity.ERROR, rules.no_answer),
    "missing-variable": Rule(Severity.ERROR, rules.missing_variable),
    "job-plugin": Rule(Severity.ERROR, rules.undefined_plugin_in_job),
    "clash": Rule(Severity.ERROR, rules.clash),
    "clear-secret": Rule(Severity.ERROR, rules.clear_secret),
    "unset-variable": Rule(Severity.WARNING, rules.unset_variable),
    "unlocked-plugin": Rule(Severity.WARNING, rules.unlocked_plugin),
    "likely-secret": Rule(Severity.WARNING, rules.likely_secret),
    "shared-credential": Rule(Severity.WARNING, rules.shared_credential),
    "inherited-setting": Rule(Severity.WARNING, rules.inherited_setting),
    "unknown-plugin": Rule(Severity.WARNING, rules.undefined_plugin),
    "null-override": Rule(Severity.WARNING, rules.null_override),
    "duplicate-entry": Rule(Severity.WARNING, rules.duplicate_entry),
    "project-id": Rule(Severity.WARNING, rules.no_project_id),
    "schedule": Rule(Severity.WARNING, rules.idle_schedule),
}
"""The rules by their ids."""
