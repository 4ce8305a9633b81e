"""One plug-in's settings where they are looked up: layer by layer, then in what it inherits. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from dataops_dagster.meltano.casting import cast, text, truthy
from dataops_dagster.meltano.definitions import Definition
from dataops_dagster.meltano.env import Env, Expansion, variable_name
from dataops_dagster.meltano.expanding import expand, names
from dataops_dagster.meltano.model import Layer, Place
from dataops_dagster.meltano.values import Table

STARS = "*****"
_REDACTED = "(redacted)"
"""What Meltano puts for a secret that an extra names, where it prints stars for the secret itself."""

_LARGEST = 20_000
"""Objects in objects repeat their values: each level doubles them. More than these are not put together."""

Flat = Mapping[str, tuple[Any, Any]]
"""Written leaves by their dotted names: the map that each stands in, and its key there."""


class Conflict(ValueError):  # noqa: N818  # a word for what was written, like Unkeepable
    """What is written contradicts itself, so that Meltano answers nothing."""


class Source(IntEnum):
    """Where a value was found, the strongest first; each but `INHERITED` has a layer."""

    VARIABLE = 1
    DOTENV = 2
    ENVIRONMENT = 3
    BASE = 4
    INHERITED = 5
    DEFAULT = 6


_LAYERS: Mapping[Source, Layer] = {
    source: Layer[source.name] for source in Source if source is not Source.INHERITED
}


@dataclass(frozen=True)
class Answer:
    """A setting's value, where it was found, and what is still to be done to it."""

    value: Any
    source: Source
    layer: Layer
    plugin: str
    place: Place | None = None
    variables: tuple[str, ...] = ()
    is_expandable: bool = False
    is_open: bool = False


@dataclass
class Level:
    """Where the settings of one plug-in are looked up; `parent` is the one that it inherits from.

    `environment` is None where no environment is active, `base` where it is no mapping.
    """

    label: str
    definitions: Sequence[Definition]
    env: Env
    base: Flat | None
    prefixes: Sequence[str]
    expansion: Expansion
    environment: Flat | None = None
    written_prefixes: Sequence[str] = ()
    reads_env_aliases: bool = True
    parent: Level | None = None
    stars: str = STARS
    _answers: dict[tuple[int, bool], Answer] = field(default_factory=dict)
    _inherited: dict[str, Answer] | None = None
    _as_env: dict[str, str] | None = None
    _sizes: dict[int, int] = field(default_factory=dict)

    def answer(self, definition: Definition, *, expanding: bool = True) -> Answer:
        """Return a setting's value; raises Conflict, Uncastable or Unexpandable.

        Unless `expanding`, the value is as an heir takes it over: with its variables in it.
        """
        key = id(definition), expanding
        if key not in self._answers:
            self._answers[key] = self._answer(definition, expanding=expanding)
        return self._answers[key]

    def found(self, definition: Definition) -> Answer:
        """Return what the strongest layer says that says anything; nothing is done to it."""
        for found in self._layers(definition):
            if found.value is not None:
                return found
        value, place = definition.value, definition.place
        owner = definition.owner or self.label
        expandable = value is not None
        return Answer(
            value, Source.DEFAULT, Layer.DEFAULT, owner, place, is_expandable=expandable
        )  # fmt: skip

    def answers(self, *, expanding: bool = True) -> dict[str, Answer]:
        """Return the values of all settings by their names."""
        return {d.name: self.answer(d, expanding=expanding) for d in self.definitions}

    # --- finding --------------------------------------------------------------------------------

    def _layers(self, definition: Definition) -> Iterator[Answer]:
        yield self._variable(definition, self.env, Source.VARIABLE)
        yield self._variable(definition, Env(self.expansion.dotenv), Source.DOTENV)
        if self.environment is not None:
            yield self._written(definition, self.environment, Source.ENVIRONMENT)
        if self.base is None:
            raise Conflict(f"config of {self.label} is no mapping")
        yield self._written(definition, self.base, Source.BASE)
        if self.parent is not None:
            yield self._from_parent(definition)

    def _variable(self, definition: Definition, env: Env, source: Source) -> Answer:
        found = {}
        for name in self._variables_read(definition):
            bare = name.removeprefix("!")
            if bare in env.values:
                value = env.values[bare]
                found[bare] = str(not truthy(value)) if bare != name else value
        if len(found) > 1:
            raise Conflict(f"{definition.name} is set by several variables: {', '.join(found)}")
        name, value = next(iter(found.items()), ("", None))
        return Answer(
            value, source, _LAYERS[source], self.label, env.places.get(name),
            env.open.get(name, ()), is_open=name in env.open,
        )  # fmt: skip

    def _variables_read(self, definition: Definition) -> list[str]:
        settings = (definition.name, *definition.aliases)
        read = [variable_name(prefix, name) for name in settings for prefix in self.prefixes]
        own = definition.env_aliases if self.reads_env_aliases else ()
        return list(dict.fromkeys([*read, *own]))

    def _written(self, definition: Definition, flat: Flat, source: Source) -> Answer:
        layer = _LAYERS[source]
        found = [flat[name] for name in (definition.name, *definition.aliases) if name in flat]
        if not found:
            return Answer(None, source, layer, self.label)
        values = [table[key] for table, key in found]
        if len(values) > 1 and not _agree(values):
            raise Conflict(f"{definition.name} and its aliases have several values")
        table, key = found[0]
        place = table.at(key) if isinstance(table, Table) else None
        return Answer(values[0], source, layer, self.label, place, is_expandable=True)

    def _from_parent(self, definition: Definition) -> Answer:
        assert self.parent
        if self._inherited is None:
            self._inherited = self.parent.answers(expanding=False)
        found = self._inherited.get(definition.name)
        if found is None:
            reason = f"{definition.name} has no value, and {self.parent.label} has no such setting"
            raise Conflict(reason)
        value = None if found.source is Source.DEFAULT else found.value
        return replace(found, value=value, source=Source.INHERITED)

    # --- what is done to a value ------------------------------------------------------------------

    def _answer(self, definition: Definition, *, expanding: bool) -> Answer:
        found = self.found(definition)
        variables = self._variables_for(definition)
        if expanding and found.is_expandable:
            found = self._expanded(found, variables)
        if definition.kind == "object" and found.source >= Source.INHERITED:
            found = self._assembled(definition, found, expanding=expanding)
        if not found.is_expandable and not (found.is_open and isinstance(found.value, str)):
            found = replace(found, value=cast(definition, found.value))
        if self.expansion.stars and found.value and definition.is_sensitive:
            found = replace(found, value=self.stars)
        return found

    def _variables_for(self, definition: Definition) -> Mapping[str, Any]:
        """Return the variables that a value may name: for an extra, the plug-in's settings too."""
        own = self._settings_as_env() if definition.is_extra else {}  # no extras where it fails
        if self.expansion.is_static:
            return {}
        return {**self.expansion.dotenv, **self.env.values, **own}

    def _expanded(self, found: Answer, variables: Mapping[str, Any]) -> Answer:
        named = names(found.value)
        found = replace(found, variables=named, is_expandable=False)
        if self.expansion.is_static:
            return replace(found, is_open=bool(named))
        value = expand(found.value, variables, self.expansion.missing)
        return replace(found, value=None if found.value and not value else value)

    def _assembled(self, definition: Definition, found: Answer, *, expanding: bool) -> Answer:
        """Make a map of the settings whose names lie below this one's, if there are any."""
        nested: dict[str, Answer] = {}
        size = 1
        for name in (definition.name, *definition.aliases):
            below = self._below(f"{name}.", expanding=expanding)
            nested = below | nested
            size += sum(self._sizes.get(id(d), 1) for d in self._all_below(f"{name}."))
        if size > _LARGEST:
            raise Conflict(f"{definition.name} and the objects in it repeat over {_LARGEST} values")
        self._sizes[id(definition)] = size
        if not nested:
            return found
        strongest = min([found, *nested.values()], key=lambda answer: answer.source)
        return replace(
            strongest,
            value={name: answer.value for name, answer in nested.items()},
            is_expandable=found.is_expandable,
            is_open=False,
            variables=tuple(dict.fromkeys(v for a in nested.values() for v in a.variables)),
        )

    def _below(self, prefix: str, *, expanding: bool) -> dict[str, Answer]:
        return {
            other.name.removeprefix(prefix): self.answer(other, expanding=expanding)
            for other in self._all_below(prefix)
        }

    def _all_below(self, prefix: str) -> list[Definition]:
        return [other for other in self.definitions if other.name.startswith(prefix)]

    def _settings_as_env(self) -> dict[str, str]:
        """Return the values of the settings as the variables that stand for them."""
        if self._as_env is None:
            hidden = replace(self, stars=_REDACTED, _answers={}, _sizes={})
            self._as_env = dict((hidden if self.expansion.stars else self).pairs())
        return self._as_env

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield the values of the settings by the names of the variables that stand for them."""
        answers = {d.name: (d, self.answer(d)) for d in self.definitions if not d.is_extra}
        for definition, answer in answers.values():
            if answer.value is not None:
                value = text(definition, answer.value)
                for name in self._variables_written(definition):
                    yield name, value

    def _variables_written(self, definition: Definition) -> Iterator[str]:
        if definition.env and not isinstance(definition.env, str):
            raise Conflict(f"env of {definition.name} is no text")
        if definition.env and not definition.env.startswith("!"):
            yield definition.env
        yield from (variable_name(prefix, definition.name) for prefix in self.written_prefixes)
        yield from (name for name in definition.env_aliases if not name.startswith("!"))


def _agree(values: Sequence[Any]) -> bool:
    """Say whether Meltano takes several values for one: it compares the first two, then their verdict."""
    agreed = values[0]
    for value in values[1:]:
        agreed = agreed == value
    return bool(agreed)
