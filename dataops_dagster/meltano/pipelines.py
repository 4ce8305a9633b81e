"""What `meltano run` does with a list of jobs and blocks: which plug-ins, and which state. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dataops_dagster.meltano.model import Plugin
from dataops_dagster.meltano.project import Project


@dataclass(frozen=True)
class Pipeline:
    """Blocks that Meltano runs as one: an extractor into a loader, or one plug-in's command.

    `state_id` names the state of an incremental load; a command has none.
    """

    plugins: tuple[Plugin, ...]
    state_id: str = ""


def pipelines_of(project: Project, run: Iterable[str], environment: str) -> tuple[Pipeline, ...]:
    """Return what a run of jobs and blocks is made of, up to the first block that Meltano refuses."""
    known = {plugin.name: plugin for plugin in reversed(project.plugins)}
    suffix = next((e.state_id_suffix for e in project.environments if e.name == environment), None)
    return tuple(_pipelines(_blocks(project, run), known, environment, suffix))


def _blocks(project: Project, run: Iterable[str]) -> Iterator[str]:
    jobs = {job.name: job for job in reversed(project.jobs)}
    for name in run:
        tasks = jobs[name].tasks if name in jobs else ((name,),)
        yield from (block for task in tasks for block in task)


def _pipelines(
    blocks: Iterable[str], known: Mapping[str, Plugin], environment: str, suffix: str | None
) -> Iterator[Pipeline]:
    begun: list[Plugin] = []
    for block in blocks:
        plugin = known.get(block.partition(":")[0])
        if plugin is None:
            return
        begun.append(plugin)
        is_first = len(begun) == 1
        if plugin.type == "loaders" and not is_first:
            parts = (environment, f"{begun[0].name}-to-{plugin.name}", suffix)
            yield Pipeline(tuple(begun), ":".join(filter(None, parts)))
            begun = []
        elif plugin.type not in _SINGER and is_first:
            yield Pipeline((plugin,))
            begun = []
        elif plugin.type != ("extractors" if is_first else "mappers"):
            return


_SINGER = frozenset({"extractors", "mappers", "loaders"})
