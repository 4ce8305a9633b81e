"""How the configuration of one environment differs from that of another, as rows for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dataops_dagster.configuration import PartChange, Table
from dataops_dagster.meltano.changes import differs, parts, told_apart
from dataops_dagster.meltano.model import Setting
from dataops_dagster.meltano.reading import Reading
from dataops_dagster.meltano.redaction import brief, shown

OTHER_SECRET = "another (secret)"  # noqa: S105  # it says so without telling it


@dataclass(frozen=True)
class Side:
    """A project in one environment, and what it is called."""

    name: str
    reading: Reading
    environment: str

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read or worked out."""
        return self.reading.told_problems(self.environment)

    def settings(self, plugin: str | None) -> Mapping[tuple[str, str], tuple[Setting, str]]:
        """Return its settings with their layers; with `plugin` only those of that plug-in."""
        found = self.reading.settings(self.environment)
        return {key: pair for key, pair in found.items() if plugin in (None, key[0])}


@dataclass(frozen=True)
class SettingDifference:
    """A setting that two sides have otherwise; empty where it is not set."""

    plugin: str
    setting: str
    one: str
    one_layer: str
    other: str
    other_layer: str


@dataclass(frozen=True)
class Comparison:
    """What differs between two sides; `parts` are plug-ins, jobs, schedules and the like."""

    one: str
    other: str
    settings: tuple[SettingDifference, ...]
    parts: tuple[PartChange, ...] = ()
    problems: tuple[str, ...] = ()


def compare(one: Side, other: Side, plugin: str | None = None) -> Comparison:
    """Compare two sides; with `plugin` only that plug-in's settings."""
    return Comparison(
        one.name,
        other.name,
        tuple(_differences(one, other, plugin)),
        () if plugin else (*parts(one.reading, other.reading), *_timers(one, other)),
        tuple(f"{side.name}: {told}" for side in (one, other) for told in side.problems),
    )


def _differences(one: Side, other: Side, plugin: str | None) -> Iterator[SettingDifference]:
    ours, theirs = one.settings(plugin), other.settings(plugin)
    for key in sorted({*ours, *theirs}):
        own, own_layer = ours.get(key, (None, ""))
        their, their_layer = theirs.get(key, (None, ""))
        if own and their and not differs(own.value, their.value):
            continue
        told = told_apart(own, their, secret=OTHER_SECRET)
        yield SettingDifference(
            brief(key[0]), brief(key[1]), told[0], brief(own_layer), told[1], brief(their_layer)
        )


def _timers(one: Side, other: Side) -> Iterator[PartChange]:
    ours, theirs = one.reading.timers, other.reading.timers
    for kind, name in {**ours, **theirs}:
        own, their = (
            f"{timer.when or 'by hand'}: {timer.runs}" if timer else ""
            for timer in (ours.get((kind, name)), theirs.get((kind, name)))
        )
        if own != their:
            yield PartChange(kind, brief(name), brief(own), brief(their))


def tables(found: Comparison) -> list[Table]:
    """Return a comparison as tables; those without a row are left out."""
    made: list[Table] = [
        (
            f"{found.one} and {found.other}",
            ("plug-in", "setting", found.one, "layer", found.other, "layer"),
            [
                (d.plugin, d.setting, d.one, d.one_layer, d.other, d.other_layer)
                for d in found.settings
            ],
        ),
        (
            "plug-ins, jobs, schedules and environments",
            ("", "name", found.one, found.other),
            [(part.kind, part.name, part.old, part.new) for part in found.parts],
        ),
        ("could not be read", ("what",), [(problem,) for problem in found.problems]),
    ]
    return [table for table in made if table[2]]


def listing(side: Side, plugin: str | None = None) -> list[tuple[str, str, str, str, str]]:
    """Return rows of plug-in, setting, value, layer and place of all that is set on a side."""
    return [
        (brief(name), brief(setting), shown(told), brief(layer), _where(told))
        for (name, setting), (told, layer) in sorted(side.settings(plugin).items())
    ]


def _where(setting: Setting) -> str:
    return f"{brief(setting.place.path)}:{setting.place.line}" if setting.place else ""
