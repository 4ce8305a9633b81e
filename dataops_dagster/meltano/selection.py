"""Which streams a project itself says that its extractors move. Pure; knows no catalog."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dataops_dagster.meltano.log import name_of
from dataops_dagster.meltano.model import Plugin
from dataops_dagster.meltano.pipelines import Pipeline
from dataops_dagster.meltano.project import Project
from dataops_dagster.meltano.resolving import resolve
from dataops_dagster.model import Stream

_STREAM = re.compile(r"((?:[^.\\]|\\.)+)\.")
_PATTERN = re.compile(r"[*?\[\]{}$]")
_ESCAPED = re.compile(r"\\(.)")


def selected(project: Project, pipelines: Iterable[Pipeline], environment: str) -> Iterator[Stream]:
    """Yield the streams that `select` names for the extractors of pipelines.

    A pattern names none: what it selects, only the extractor's source knows.
    """
    extractors = {p.plugins[0].name: p.plugins[0] for p in pipelines if p.state_id}
    for plugin in extractors.values():
        for name in dict.fromkeys(_selected(project, plugin, environment)):
            yield Stream(name_of(plugin.name), name)


def _selected(project: Project, plugin: Plugin, environment: str) -> Iterator[str]:
    setting = resolve(project, plugin, environment).settings.get("_select")
    rules = setting.value if setting and isinstance(setting.value, list) else ()
    for rule in rules:
        match = _STREAM.match(str(rule))
        if match and not str(rule).startswith("!") and not _PATTERN.search(match[1]):
            yield name_of(_ESCAPED.sub(r"\1", match[1]))
