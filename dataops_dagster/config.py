"""Read `dataops.yaml` into a `Project`; the only module that knows the file's format.

Never touches a repository or the network: what can only be known there, `dataops check` asks.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import yaml
from pydantic import BaseModel, ValidationError

from dataops_dagster import consistency, urls
from dataops_dagster.errors import ConfigError, Problem
from dataops_dagster.settings import Automation, Credential, Merge, Project, Ssh, Workspace
from dataops_dagster.settings_gate import Approvals, Gate, Lint, Period
from dataops_dagster.settings_steps import STEPS
from dataops_dagster.settings_tinybird import Branches, Share, Tinybird, TinybirdProject

SIZE_LIMIT_BYTES = 1024 * 1024
DEFAULT_PATH = Path("dataops.yaml")

_S = TypeVar("_S", bound=BaseModel)

# The parts of a value's key path that tell which settings stand below it.
_SETTINGS: Mapping[str, type[BaseModel]] = {
    "automation": Automation,
    "credential": Credential,
    "ssh": Ssh,
    "merge": Merge,
    "gate": Gate,
    "windows": Period,
    "freezes": Period,
    "approvals": Approvals,
    "lint": Lint,
    "branches": Branches,
    "shares": Share,
    "uses": Share,
    **STEPS,
}


def default_paths() -> tuple[Path, ...]:
    """Return the files that DATAOPS_CONFIG names, or dataops.yaml in this folder."""
    given = os.environ.get("DATAOPS_CONFIG", str(DEFAULT_PATH))
    return tuple(map(Path, given.split(os.pathsep)))


def load(path: Path) -> Project:
    """Read one project; raises `ConfigError` with every problem of the file at once."""
    return load_all([path])[0]


def load_all(paths: Iterable[Path]) -> list[Project]:
    """Read several projects, which may not share a workspace; problems of all files at once."""
    projects: list[Project] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, str], str] = {}
    held: dict[tuple[str, str], str] = {}
    produced: dict[str, str] = {}
    names: dict[str, Path] = {}
    for path in paths:
        try:
            source = _Source.read(path)
            project = source.project()
        except ConfigError as error:
            problems += error.problems
            continue
        if project.name in names:
            problems.append(
                Problem(
                    source.where("project"),
                    f"{names[project.name]} already has a project {project.name}",
                    "give each project a name of its own",
                )
            )
        names[project.name] = path
        projects.append(project)
        for key, workspace in project.produced.items():
            if produced.setdefault(key, project.name) != project.name:
                problems.append(
                    Problem(
                        source.where("workspaces", workspace.name),
                        f"{key} is what project {produced[key]} produces already",
                        "give each project assets of its own",
                    )
                )
        for workspace in project.workspaces.values():
            place = source.place(workspace)
            if place in seen and seen[place] != project.name:
                problems.append(
                    Problem(
                        source.where("workspaces", workspace.name, "repository"),
                        f"project {seen[place]} already has a workspace at this repository"
                        f" and branch {workspace.branch}",
                        "give each project workspaces of its own",
                    )
                )
            seen.setdefault(place, project.name)
            tinybird = workspace.tinybird
            if tinybird and held.setdefault(tinybird.place, project.name) != project.name:
                problems.append(
                    Problem(
                        source.where("workspaces", workspace.name, "tinybird"),
                        f"project {held[tinybird.place]} already deploys to {tinybird.workspace}"
                        f" at {tinybird.host}",
                        "give each project workspaces of its own at Tinybird",
                    )
                )
    if problems:
        raise ConfigError(problems)
    return projects


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `dataops.yaml`, made from the types."""
    made = Project.model_json_schema()
    # In the file a workspace's name is its key.
    workspace = made["$defs"]["Workspace"]
    del workspace["properties"]["name"]
    workspace["required"].remove("name")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "dataops"}


def of_data(path: Path, data: Mapping[str, Any]) -> Project:
    """Read a project that stands in another kind of file, seen from whose folder paths are."""
    return _Source(path, dict(data), None).project()


class _Source:
    """One file: its data, and where in it each key stands."""

    def __init__(self, path: Path, data: dict[str, Any], node: yaml.Node | None) -> None:
        self.path, self.data, self.node = path, data, node

    @classmethod
    def read(cls, path: Path) -> _Source:
        """Read a `dataops.yaml`; raises `ConfigError`."""
        try:
            with path.open("rb") as file:
                raw = file.read(SIZE_LIMIT_BYTES + 1)
        except OSError as error:
            raise ConfigError.at(
                str(path), error.strerror or "cannot be read", "name a dataops.yaml with --config"
            ) from None
        if len(raw) > SIZE_LIMIT_BYTES:
            raise ConfigError.at(
                str(path), f"is larger than {SIZE_LIMIT_BYTES} bytes", "split it by project"
            )
        try:
            node, data = _parsed(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ConfigError.at(
                str(path), f"byte {error.start} is not UTF-8", "save the file as UTF-8"
            ) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise ConfigError.at(
                where, getattr(error, "problem", None) or str(error), "mend the YAML"
            ) from None
        except RecursionError:
            raise ConfigError.at(str(path), "is nested too deeply", "flatten it") from None
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
            # PyYAML's own constructors: a date such as 2020-13-41, a tag that does not fit.
            raise ConfigError.at(
                str(path), "has a value that YAML cannot read", "quote what should be text"
            ) from None
        if not isinstance(data, dict):
            raise ConfigError.at(
                str(path),
                "is not a mapping",
                "begin with 'project: NAME' and 'workspaces:'",
            )
        return cls(path, data, node)

    def where(self, *keys: str | int) -> str:
        """Name a place as file, line and key path; the line is that of the nearest known key."""
        path = ".".join(str(key) for key in keys)
        if self.node is None:
            return f"{self.path}: {path}" if path else str(self.path)
        node, line = self.node, 1
        for key in keys:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                found = (node.value[key], node.value[key]) if key < len(node.value) else None
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return f"{self.path}:{line}: {path}" if path else f"{self.path}:{line}"

    def project(self) -> Project:
        """Validate the data into a project with absolute repository URLs."""
        data = dict(self.data)
        problems: list[Problem] = []
        workspaces = data.get("workspaces")
        if isinstance(workspaces, dict):
            named = {}
            for name, value in workspaces.items():
                if not isinstance(value, dict):
                    named[str(name)] = value
                    continue
                if "name" in value:
                    problems.append(self._unknown(("workspaces", str(name), "name"), Workspace))
                named[str(name)] = {**value, "name": name}
            data["workspaces"] = named
        try:
            project = Project.model_validate(data)
        except ValidationError as error:
            problems += self._problems(error)
            try:
                # What is wrong between the keys is wanted too, not only what is wrong in each.
                project = Project.model_validate(_without_mistakes(data, error))
            except ValidationError:
                raise ConfigError(problems) from None
        problems += [
            Problem(self.where(*mistake.keys), mistake.problem, mistake.hint)
            for mistake in consistency.mistakes(project, self.place)
        ]
        if problems:
            raise ConfigError(sorted(problems, key=self._line))
        return project.model_copy(
            update={
                "workspaces": {
                    name: self._found(workspace) for name, workspace in project.workspaces.items()
                }
            }
        )

    def _found(self, workspace: Workspace) -> Workspace:
        """Return the workspace with all its paths seen from the file's folder."""
        update: dict[str, Any] = {"repository": self._absolute(workspace.repository)}
        approvals = workspace.gate and workspace.gate.approvals
        if workspace.gate and approvals and approvals.allowed_signers:
            approvals = self._beside(approvals, "allowed_signers")
            update["gate"] = workspace.gate.model_copy(update={"approvals": approvals})
        if workspace.ssh:
            update["ssh"] = self._beside(workspace.ssh, "key", "known_hosts")
        return workspace.model_copy(update=update)

    def _beside(self, settings: _S, *keys: str) -> _S:
        """Return settings whose files, as far as they are named, are seen from the file's folder."""
        named = {key: getattr(settings, key) for key in keys}
        folder = self.path.absolute().parent
        update = {key: str(folder / name) for key, name in named.items() if name}
        return settings.model_copy(update=update)

    def _line(self, problem: Problem) -> int:
        line = problem.where.removeprefix(f"{self.path}:").split(":")[0]
        return int(line) if self.node else 0

    def _absolute(self, repository: str) -> str:
        """Make a path a URL, seen from the file's folder; others stay as they are."""
        parsed = urls.parse(repository)
        if parsed is None or parsed.protocol != "file":
            return repository
        path = self.path.absolute().parent / Path(parsed.path).expanduser()
        return f"file://{quote(str(path.resolve()))}"

    def place(self, workspace: Workspace) -> tuple[str, str]:
        """Return what two workspaces may not share, spelling differences aside."""
        parsed = urls.parse(workspace.repository)
        if parsed is None or not consistency.has_home(parsed.path):
            return workspace.repository, workspace.branch
        absolute = urls.parse(self._absolute(workspace.repository))
        return absolute.place if absolute else workspace.repository, workspace.branch

    def _problems(self, error: ValidationError) -> Iterator[Problem]:
        found = error.errors()
        for details in found:
            location = details["loc"]
            below = any(d["loc"][: len(location)] == location and d is not details for d in found)
            # pydantic does not count items that are wrong; what is wrong in them is enough.
            if not (details["type"] == "too_short" and below):
                yield self._problem(details)

    def _problem(self, details: Any) -> Problem:
        """Turn one of pydantic's errors into ours; never repeats the value, it may be a secret."""
        location = details["loc"]
        # A step's tag stands in pydantic's path, but not in the file.
        shown = tuple(
            key
            for i, key in enumerate(location)
            if not (i and location[i - 1] in ("run", "deploy") and key in STEPS)
        )
        if location[0] == "workspaces" and location[2:] == ("name",):
            shown = location[:2]  # in the file the name is the key
        settings = _settings_at(location[:-1])
        key = next((part for part in reversed(location) if isinstance(part, str)), "")
        kind = details["type"]
        where = self.where(*shown)
        if kind == "extra_forbidden":
            return self._unknown(shown, settings)
        if kind == "missing":
            return Problem(where, "is missing", f"add {shown[-1]}: …")
        if kind == "string_pattern_mismatch":
            return Problem(where, "has characters that are not allowed", _pattern_hint(key))
        if kind.startswith("union_tag"):
            return Problem(
                where,
                "names no known platform",
                f"set platform: to one of {', '.join(STEPS)}",
            )
        problem, hint = _MISTAKES.get(kind, ("", ""))
        message = details["msg"].removeprefix("Value error, ")
        return Problem(
            where, problem or message, hint or "`dataops schema` prints what may stand here"
        )

    def _unknown(self, keys: tuple[str | int, ...], settings: type[BaseModel]) -> Problem:
        known = sorted(_file_keys(settings))
        close = difflib.get_close_matches(str(keys[-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known keys here: {', '.join(known)}"
        return Problem(self.where(*keys), "is an unknown key", hint)


_NO_SIZE = ("should be a size", "write a number and MB, GB or TB, such as 100GB")
# What pydantic calls by Python's names, in a reader's words: the problem, and the mend.
_MISTAKES = {
    "byte_size": _NO_SIZE,
    "byte_size_unit": _NO_SIZE,
    "string_type": ("should be text", "quote it if it looks like a number or a truth value"),
    "bool_type": ("should be true or false", "write true or false, unquoted"),
    "tuple_type": ("should be a list", "write [first, second] or one item a line after '- '"),
    "too_short": ("is empty", "give it at least one item"),
    "string_too_short": ("is empty", "write its value, or leave the key out"),
    "model_type": ("should be a mapping", "write its keys below it, indented"),
    "dict_type": ("should be a mapping", "write its keys below it, indented"),
    "mapping_type": ("should be a mapping", "write its keys below it, indented"),
    "model_attributes_type": ("should be a mapping", "write its keys below it, indented"),
}


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Return a file's nodes, which know their lines, and its data: both from one pass."""
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        return node, loader.construct_document(node) if node else None
    finally:
        loader.dispose()


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; we want to hear of it."""


def _construct_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(
                problem="a key is a list or a mapping", problem_mark=key.start_mark
            )
        if key.value in seen:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value} stands here twice", problem_mark=key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def _without_mistakes(data: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """Put neutral values where mistakes stand, so that the rest can be looked at."""
    mended = dict(data)
    given = data.get("workspaces")
    items = given.items() if isinstance(given, dict) else ()
    workspaces = {name: dict(value) for name, value in items if isinstance(value, dict)}
    for details in error.errors():
        match details["loc"]:
            case ("workspaces", str(name), "name", *_):
                workspaces.pop(name, None)
            case ("workspaces", str(name), str(key), *_) if name in workspaces:
                workspaces[name].pop(key, None)
                neutral: dict[str, Any] = {
                    "repository": f"https://mended.invalid/{name}",
                    "environment": "mended",
                    "run": {"platform": "command", "command": ["mended"]},
                    "tinybird": {
                        "host": "https://mended.invalid",
                        "workspace": f"mended_{name}",
                        "token_variable": "MENDED",
                    },
                }
                if key in neutral:
                    workspaces[name][key] = neutral[key]
                if key == "upstream":
                    workspaces[name] = {
                        k: v for k, v in workspaces[name].items() if k not in ("gate", "promote")
                    }
            case ("project", *_):
                mended["project"] = "mended"
            case (str(key), *_):
                mended.pop(key, None)
    return {**mended, "workspaces": workspaces}


def _settings_at(location: tuple[str | int, ...]) -> type[BaseModel]:
    match location:
        case ():
            return Project
        case ("workspaces", _):  # whatever the workspace is called
            return Workspace
        case ("workspaces", _, "tinybird"):
            return Tinybird
        case ("tinybird",):
            return TinybirdProject
        case (*_, str(key)) | (*_, str(key), int()) if key in _SETTINGS:
            return _SETTINGS[key]
    return Project


def _file_keys(settings: type[BaseModel]) -> list[str]:
    keys = {str(field.validation_alias or name) for name, field in settings.model_fields.items()}
    return list(keys - {"name"})


def _pattern_hint(key: str) -> str:
    if key.endswith("_variable") or key == "variables":
        return "name an environment variable; never write the secret itself"
    if key in ("project", "name", "upstream"):
        return "use letters and digits, with single underscores between, beginning with a letter"
    if key == "produces":
        return "write an asset's key with / between its parts, such as warehouse/orders"
    if key == "predicate":
        return "name a function as module:function"
    if key == "jobs":
        return "name a job as JOB, or LOCATION:JOB"
    return "remove control characters and leading punctuation"
