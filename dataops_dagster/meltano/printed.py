"""A configuration in the form that `meltano config print` writes it. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Any

from dataops_dagster.meltano.casting import as_json
from dataops_dagster.meltano.model import Configuration, Shape
from dataops_dagster.meltano.nesting import nest, without_dotted


class Part(str, Enum):
    """Which settings are printed; Meltano prints the extras only alone."""

    CONFIG = "config"
    EXTRAS = "extras"


class Unprintable(ValueError):  # noqa: N818  # a word for the configuration, like Unkeepable
    """Meltano would print nothing but an error; this says why."""


def printed(configuration: Configuration, part: Part = Part.CONFIG) -> str:
    """Return the JSON that Meltano prints for one plug-in; raises Unprintable."""
    is_extras = part is Part.EXTRAS
    failure = configuration.extras_failure if is_extras else configuration.failure
    if failure:
        raise Unprintable(failure)
    flat = {
        name: setting.value
        for name, setting in configuration.settings.items()
        if name.startswith("_") is is_extras
    }
    try:
        return as_json(flat if is_extras else shaped(flat, configuration.shape), indent=2)
    except (TypeError, ValueError, RecursionError) as problem:
        raise Unprintable(str(problem)) from None


def shaped(flat: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """Return settings by their names as the plug-in takes them; raises Unnestable."""
    match shape:
        case Shape.FLAT:
            return flat
        case Shape.TEXTS:
            return nest({name: str(value) for name, value in flat.items()})
        case Shape.NESTED:
            given = {name: value for name, value in flat.items() if value is not None}
            nested = nest(given, unescape=False)
            without_dotted(nested)
            return nested
