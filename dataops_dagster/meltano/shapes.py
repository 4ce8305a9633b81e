"""Which shapes Meltano takes for the parts of an entry that no setting comes from. Pure.

Meltano answers nothing where one has another shape, so what is wrong is Malformed here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_dagster.meltano.model import Place
from dataops_dagster.meltano.values import Table

_COMMAND = frozenset({"args", "description", "executable", "container_spec", "annotations"})
_CONTAINER = frozenset(
    {"image", "command", "entrypoint", "ports", "volumes", "env", "annotations"}
)  # fmt: skip
_REQUIREMENT = frozenset({"name", "variant", "annotations"})
_TEXTS = ("namespace", "variant", "pip_url", "executable")
_OF_PYTHON = frozenset({"self", "cls"})
"""Keys that Meltano's own code stumbles over."""


class Malformed(ValueError):  # noqa: N818  # a word for the entry, like Unkeepable
    """An entry has another shape than Meltano takes; `place` is where, if that is known."""

    def __init__(self, place: Place | None, reason: str) -> None:
        super().__init__(reason)
        self.place, self.reason = place, reason


def check_keys(raw: Mapping[Any, Any], place: Place | None, what: str) -> None:
    """Raise Malformed for a key that Meltano cannot take, whatever the entry is."""
    for key in raw:
        if not isinstance(key, str) or key in _OF_PYTHON:
            reason = (
                "that is no text" if not isinstance(key, str) else f"{key}, which breaks Meltano"
            )
            raise Malformed(_at(raw, key, place), f"{what} has a key {reason}")


def check_parts(raw: Mapping[Any, Any], place: Place, owner: str) -> None:
    """Raise Malformed where the commands or requirements of a plug-in have another shape."""
    for name, command in _mapping(raw, "commands", place, owner).items():
        if not _is_command(command):
            reason = f"the command {name} of {owner} is neither a text nor a mapping of known keys"
            raise Malformed(_at(raw, "commands", place), reason)
    for type_, needed in _mapping(raw, "requires", place, owner).items():
        rows = listed(needed)
        if rows is None or not all(_has(row, {"name"}, _REQUIREMENT) for row in rows):
            reason = f"what {owner} requires of {type_} is no list of names and variants"
            raise Malformed(_at(raw, "requires", place), reason)


def check_lists(raw: Mapping[Any, Any], place: Place, owner: str) -> None:
    """Raise Malformed where a definition says a single thing instead of several."""
    for key in ("capabilities", "settings_group_validation"):
        if raw.get(key) and not isinstance(raw[key], list | dict | str):
            raise Malformed(_at(raw, key, place), f"{key} of {owner} are no list")


def unusable(raw: Mapping[Any, Any], owner: str) -> str:
    """Say why nothing is answered for this plug-in: Meltano stumbles over it, or we do not read it.

    Empty if it is answered.
    """
    if raw.get("variants"):
        return f"{owner} is described by variants, which are not read"
    settings = raw.get("settings")
    if isinstance(settings, list) and None in settings:
        return f"one of the settings of {owner} is empty"
    odd = next((k for k in _TEXTS if raw.get(k) and not isinstance(raw[k], str)), None)
    return f"{odd} of {owner} is no text" if odd else ""


def listed(value: Any) -> list[Any] | None:
    """Return a list's items; nothing for what is empty in another way, None for what is no list."""
    if isinstance(value, list):
        return value
    return [] if value in ("", {}) else None


def _mapping(raw: Mapping[Any, Any], key: str, place: Place, owner: str) -> Mapping[Any, Any]:
    found = raw.get(key)
    if found is not None and not isinstance(found, dict):
        raise Malformed(_at(raw, key, place), f"{key} of {owner} are no mapping")
    return found or {}


def _is_command(value: Any) -> bool:
    if isinstance(value, str):
        return True
    container = value.get("container_spec") if isinstance(value, dict) else None
    return _has(value, set(), _COMMAND) and (
        not container or _has(container, {"image"}, _CONTAINER)
    )


def _has(value: Any, needed: set[str], known: frozenset[str]) -> bool:
    """Say whether a mapping has the keys; what is null is left out by Meltano."""
    return value is None or (isinstance(value, dict) and needed <= set(value) <= known)


def _at(raw: Mapping[Any, Any], key: Any, place: Place | None) -> Place | None:
    return raw.at(key) if isinstance(raw, Table) and key in raw.places else place
