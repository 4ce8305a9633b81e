"""Variables as they are laid over each other, and how they are named. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dataops_dagster.meltano.expanding import Missing
from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.values import Table

_ODD = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True)
class Expansion:
    """How the variables in values are treated. Static: their names stay, whatever they stand for."""

    is_static: bool = True
    dotenv: Mapping[str, str] = field(default_factory=dict)
    missing: Missing = Missing.EMPTY
    stars: bool = False

    def with_missing(self, missing: Missing) -> Expansion:
        """Return the same with another answer to a missing variable."""
        return replace(self, missing=missing)


@dataclass(frozen=True)
class Env:
    """Variables, where those that the project writes stand, and which of them name others."""

    values: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    open: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def over(
        self,
        values: Mapping[str, Any],
        written: Any = None,
        open_: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Env:
        """Return these variables with others laid over them; `written` knows their places."""
        places = dict(self.places)
        for name in values if isinstance(written, Table) else ():
            places[name] = written.at(name)
        still_open = {name: found for name, found in self.open.items() if name not in values}
        return Env({**self.values, **values}, places, still_open | dict(open_ or {}))

    def under(self, other: Env) -> Env:
        """Return these variables with all of another's laid over them."""
        return Env(
            {**self.values, **other.values},
            {**self.places, **other.places},
            {**self.open, **other.open},
        )


def variable_name(*parts: str) -> str:
    """Return the name of the variable for a plug-in's setting."""
    return "_".join(_ODD.sub("_", part).upper() for part in parts if part)
