"""Where a workspace at Tinybird stands: whose the token is, what is live, what was left half-done.

Reads only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Operation
from dataops_dagster.settings_tinybird import Dialect, Tinybird
from dataops_dagster.tinybird import guard
from dataops_dagster.tinybird.client import Client
from dataops_dagster.tinybird.definitions import UNKNOWN
from dataops_dagster.tinybird.journal import Entry, Journal
from dataops_dagster.tinybird.model import Verb

_NAMED = 10


@dataclass(frozen=True)
class Standing:
    """A workspace as it is: `live` says what it serves, `problem` what a person should know."""

    name: str
    id: str
    live: str
    problem: str


def look(settings: Tinybird, where: str) -> Standing:
    """Ask Tinybird where a workspace stands.

    Raises `ConfigError` for the token of another one, `ToolError` when nobody can say.
    """
    client = Client.of(settings, where)
    found = client.identity()
    left = Journal.of(settings.host, found.id).read()
    if refusal := guard.wrong_workspace(settings, found, where):
        raise ConfigError.at(where, refusal.reason, refusal.hint)
    problems = list[str]()
    if settings.dialect is Dialect.CLASSIC:
        live = f"commit {found.commit[:12]}" if found.commit else ""
        problems += [f"INCONSISTENT: {_told(left)}; deploy again"] if left.begun else []
    else:
        deployments = client.deployments()
        live = ", ".join(f"deployment {d.id}" for d in deployments if d.live)
        problems += [f"deployment {d.id}: {d.status}" for d in deployments if not d.live]
        problems += [f"{_told(left)}; the next one heals that"] if left.begun else []
    return Standing(found.name, found.id, live, "; ".join(problems))


def _told(left: Entry) -> str:
    return f"the deployment of {left.begun[:12]} broke off half-way"


def drift(commit: str, operations: Sequence[Operation]) -> str:
    """Say what deploying the deployed commit again would do: nothing, where nobody changed it.

    What cannot be compared has not drifted.
    """
    tells = {Verb.CREATE.value, Verb.CHANGE.value, Verb.DELETE.value}
    named = [
        f"{o.verb} {o.kind} {o.name}" + (f" ({o.detail})" if o.detail else "")
        for o in operations
        if o.verb in tells and o.detail != UNKNOWN
    ]
    if not named:
        return ""
    told = ", ".join(named[:_NAMED]) + (", …" if len(named) > _NAMED else "")
    return f"drifted from {commit[:12]}; deploying it again would {told}"
