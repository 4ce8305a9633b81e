"""What a `.env` file says, as Meltano reads it; reads no file and no process itself."""

from __future__ import annotations

import io
from collections.abc import Mapping

from dotenv.parser import parse_stream
from dotenv.variables import parse_variables

from dataops_dagster.meltano.expanding import LONGEST, Unexpandable


def read_dotenv(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a `.env` file; its values may name earlier ones and `variables`.

    Raises Unexpandable when a value grows beyond all bounds.
    """
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None and binding.value is not None:
            env = {**variables, **found}
            parts = [atom.resolve(env) for atom in parse_variables(binding.value)]
            if sum(map(len, parts)) > LONGEST:
                raise Unexpandable(f"{binding.key} has over {LONGEST} characters")
            found[binding.key] = "".join(parts)
        elif binding.key is not None:
            found.pop(binding.key, None)  # a name alone takes back what it said before
    return found
