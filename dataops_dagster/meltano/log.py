"""What the log of `meltano run` says: lines for people, and facts for the record. Pure.

Plug-ins write into it too, so it may say anything. It never decides how a run ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataops_dagster.meltano.pipelines import Pipeline
from dataops_dagster.model import Facts, Failing, Stream
from dataops_dagster.text import one_line

STREAMS = 500
"""How many streams of a run are counted; a plug-in that names more of them is not believed."""

_NAME_CHARACTERS = 200
_MOST_ROWS = 2**53  # what a number in JSON surely holds
_COMMAND_FAILED = re.compile(r"failed with exit code: (-?\d{1,5})$")


class Log:
    """Takes a run's log line by line; `pipelines` are those of the run, in their order."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self._pipelines = pipelines
        self._extractors = {p.state_id: p.plugins[0].name for p in pipelines if p.state_id}
        self._extracted: dict[tuple[str, str], int] = {}
        self._loaded: dict[tuple[str, str], int] = {}
        self._failing: tuple[Failing, ...] = ()

    def take(self, line: str) -> str | None:
        """Return a line as `WHO: WHAT` for people, or None for one that they need not see.

        What is no entry of Meltano's log stays as it is.
        """
        entry = _mapping(line)
        event = entry.get("event")
        if not isinstance(event, str):
            return line
        if "stdio" in entry:
            self._count(entry, event)
        elif event == "Block run completed":
            self._failing = self._failing or self._failures(entry)
            return None  # we say ourselves how it ended
        elif event == "Run completed":
            return None
        return f"{entry.get('name', 'meltano')}: {event}".replace("\n", " ")

    def facts(self) -> Facts:
        """Return what was found so far; rows are the extractor's count, or else the loader's."""
        rows = self._loaded | self._extracted
        return Facts(
            streams=tuple(Stream(*key, rows=rows[key]) for key in sorted(rows)),
            failing=self._failing,
        )

    def _count(self, entry: Mapping[str, Any], event: str) -> None:
        """Count the rows that one of the SDK's metrics tells of, each since the one before it."""
        is_metric = event.startswith("METRIC")
        metric = entry.get("metric_info") or _mapping(event.partition(": ")[2]) if is_metric else {}
        if not isinstance(metric, dict) or metric.get("metric") != "record_count":
            return
        tags, value = metric.get("tags"), metric.get("value")
        stream = tags.get("stream") if isinstance(tags, dict) else None
        if not isinstance(stream, str) or type(value) is not int or value < 0:
            return
        if entry.get("producer") is True and entry.get("consumer") is False:
            extractor, counts = entry.get("string_id"), self._extracted
        elif entry.get("producer") is False and entry.get("consumer") is True:
            extractor, counts = self._extractors.get(str(entry.get("job_name"))), self._loaded
        else:
            return  # a mapper counts what the extractor counted
        if isinstance(extractor, str):
            key = name_of(extractor), name_of(stream)
            if all(key) and (key in counts or len(counts) < STREAMS):
                counts[key] = min(counts.get(key, 0) + value, _MOST_ROWS)

    def _failures(self, entry: Mapping[str, Any]) -> tuple[Failing, ...]:
        """Return which plug-ins made a block fail; Meltano tells their types, we know their names."""
        number, codes = entry.get("set_number"), entry.get("exit_codes")
        if entry.get("success") is not False or type(number) is not int:
            return ()
        plugins = self._pipelines[number].plugins if 0 <= number < len(self._pipelines) else ()
        ends = {"extractors": plugins[:1], "loaders": plugins[-1:]}
        found = codes if isinstance(codes, list) else [codes]
        told = [
            Failing(ends[who][0].name if ends.get(who) else name_of(who), code)
            for each in found
            if isinstance(each, dict)
            for who, code in each.items()
            if type(code) is int
        ]
        command = _COMMAND_FAILED.search(str(entry.get("err")))
        if not told and command and plugins:
            return (Failing(plugins[0].name, int(command[1])),)
        return tuple(told[:2])


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # [[[[… is deeper than it is long
        return {}
    return found if isinstance(found, dict) else {}


def name_of(text: str) -> str:
    """Return a name from a repository or a program as it may be shown: inert, and not too long."""
    return one_line(text)[:_NAME_CHARACTERS]
