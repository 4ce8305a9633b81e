"""What must be installed for a run: which plug-ins, and all that decides what each installs. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, pairwise
from typing import Any

from dataops_dagster.meltano.entries import Base, Entry
from dataops_dagster.meltano.expanding import names
from dataops_dagster.meltano.files import Files
from dataops_dagster.meltano.model import Plugin
from dataops_dagster.meltano.pipelines import Pipeline
from dataops_dagster.meltano.project import Project

_LOCAL = re.compile(r"[./~]|.*=[./~]|.*file:|-[erc]|--(editable|requirement|constraint)\b")
_CREDENTIAL = re.compile(r"://(?:[^/@\s:]*:)?([^/@\s]+)@")
_FOLDER = re.compile(r"(?!\.\.?$)[^/\x00]{1,200}")
_SETTINGS = ("MELTANO_PYTHON", "MELTANO_VENV_BACKEND")
_PYTHON, _DOTENV = ".python-version", ".env"
_ARGUMENTS = 100


@dataclass(frozen=True)
class Need:
    """A plug-in that a run needs, and all that decides what is installed for it.

    `folder` is the name of Meltano's folder for it, which heirs share with their parent. `said`
    holds what else counts, such as the values of the variables that `pip_url` names.
    """

    type: str
    name: str
    folder: str
    pip_url: str = field(repr=False)
    python: str = ""
    said: tuple[str, ...] = field(default=(), repr=False)

    def key(self, *by: str) -> str:
        """Return one word for what is installed, `by` whom and where; it tells no secret."""
        told = {**asdict(self), "name": None, "by": by}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    def is_shared(self, paths: Collection[str]) -> bool:
        """Say whether any commit installs the same: it names none of the project's own `paths`."""
        try:
            arguments = shlex.split(self.pip_url)
        except ValueError:
            return False  # Meltano will say so
        return (
            "MELTANO_PROJECT_ROOT" not in self.pip_url
            and len(arguments) <= _ARGUMENTS
            and not any(
                _LOCAL.match(each) or _is_in(paths, each.rpartition("=")[2], before)
                for before, each in pairwise(["", *arguments])
            )
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords and tokens that stand in a URL as they are."""
        return tuple(_CREDENTIAL.findall(self.pip_url))


def needs_of(
    project: Project,
    pipelines: Iterable[Pipeline],
    environment: str,
    *,
    files: Files,
    variables: Mapping[str, str],
) -> tuple[Need, ...]:
    """Return the plug-ins of pipelines that install something, each of Meltano's folders once.

    `variables` are those that the run sees.
    """
    beside = files.contents([path for path in (_PYTHON, _DOTENV) if path in files.kinds()])
    python = project.settings.get("python") or beside.get(_PYTHON, b"").decode("utf-8", "replace")
    layers = [
        variables,
        {_DOTENV: hashlib.sha256(beside.get(_DOTENV, b"")).hexdigest()},
        project.env,
        *(e.env for e in project.environments if e.name == environment),
    ]
    found: dict[tuple[str, str], Need] = {}
    for plugin in chain.from_iterable(pipeline.plugins for pipeline in pipelines):
        need = _need(project, plugin, layers, python)
        if need:
            found.setdefault((need.type, need.folder), need)
    return tuple(found.values())


def _need(
    project: Project, plugin: Plugin, layers: Sequence[Mapping[str, Any]], python: Any
) -> Need | None:
    entry = project.entries[plugin.type, plugin.name]
    parent = project.parents[plugin.type, plugin.name]
    line = [entry, *parent.chain]
    folder = _folder(line, parent.base)
    if plugin.pip_url is None or not _FOLDER.fullmatch(folder):
        return None
    named = names(plugin.pip_url)
    envs = [each.env for each in line if isinstance(each.env, Mapping)]
    return Need(
        type=plugin.type,
        name=entry.name,
        folder=folder,
        pip_url=plugin.pip_url,
        python=_first("python", line, parent.base) or str(python),
        said=_values([*named, *_SETTINGS, *([_DOTENV] if named else [])], [*layers, *envs]),
    )


def _folder(line: Sequence[Entry], base: Base | None) -> str:
    """Return the name of Meltano's folder: that of the last entry that installs something else."""
    for number, entry in enumerate(line):
        own = entry.raw.get("pip_url")
        if not entry.inherits or (own and own != _first("pip_url", line[number + 1 :], base)):
            return entry.name
    return base.name if base else line[-1].name


def _first(key: str, line: Iterable[Entry], base: Base | None) -> str:
    raws = [*(entry.raw for entry in line), *([base.raw] if base else [])]
    return str(next((raw[key] for raw in raws if raw.get(key) is not None), ""))


def _values(wanted: Iterable[str], layers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what is said of variables, and of those that their values name."""
    waiting, said = [*wanted], dict[str, list[Any]]()
    while waiting:
        name = waiting.pop()
        if name not in said:
            said[name] = [layer.get(name) for layer in layers]
            waiting += names(said[name])
    return tuple(f"{name}={values}" for name, values in sorted(said.items()) if any(values))


def _is_in(paths: Collection[str], path: str, before: str) -> bool:
    """Say whether an installer would take an argument for a file or a folder of the project."""
    is_path = "/" in path or before.startswith("-")
    return path in paths or (is_path and any(e.startswith(f"{path.rstrip('/')}/") for e in paths))
