"""Values of a file that know where they stand; reads nothing."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.timestamp import TimeStamp

from dataops_dagster.meltano.model import Place, Unreadable


class Table(dict[Any, Any]):
    """A mapping that knows where it and its keys stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: dict[Any, Place] = {}

    def at(self, key: Any) -> Place:
        """Return where a key stands, or the mapping if the key is not there."""
        return self.places.get(key, self.place)


class Rows(list[Any]):
    """A list that knows where it and its items stand."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.places: list[Place] = []


@dataclass(frozen=True)
class Refused:
    """Stands where a value could not be taken in."""

    unreadable: Unreadable

    def __str__(self) -> str:
        return f"({self.unreadable.reason})"


def copied(value: Any) -> Any:
    """Copy a value the way Meltano copies a `config:`: moments lose their zone and microseconds."""
    match value:
        case Table():
            table = Table(value.place)
            table.update({key: copied(item) for key, item in value.items()})
            table.places = value.places
            return table
        case Rows():
            rows = Rows(value.place)
            rows.extend(copied(item) for item in value)
            rows.places = value.places
            return rows
        case TimeStamp():
            return copy.deepcopy(value)
        case _:
            return value


def contains_refused(value: Any) -> Refused | None:
    """Return what in a value could not be taken in, if anything could not."""
    match value:
        case Refused():
            return value
        case dict():
            return next(filter(None, map(contains_refused, (*value, *value.values()))), None)
        case list():
            return next(filter(None, map(contains_refused, value)), None)
        case _:
            return None
