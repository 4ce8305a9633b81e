"""The data project in an exported commit: its resources by file name, its fixtures, its tests.

Reads no SQL and follows no link. What a commit must not bring along is left out or refused.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dataops_dagster.errors import ConfigError
from dataops_dagster.settings_tinybird import Dialect, Tinybird
from dataops_dagster.text import one_line
from dataops_dagster.tinybird.command import PROXIES, TOKEN
from dataops_dagster.tinybird.datafiles import INCLUDE, INCLUDED, overreach
from dataops_dagster.tinybird.model import Kind, Resource

MOST_FILES = 10_000
_LARGEST_BYTES = 1024 * 1024
"""A definition is small; a larger one is refused."""

_MOST_INCLUDED = 100

_DEFINITIONS = (".datasource", ".pipe", ".connection")
_DATA = (".csv", ".ndjson", ".jsonl", ".json", ".parquet", ".gz")
_OTHERS = (INCLUDED, ".token", ".test", ".result", ".sql", ".yaml", ".yml")
# With one of these in its folder, tb runs the commit's code while it holds the token.
_CODE = ("tinybird.config.py", "tinybird_config.py", "tinybird.config.mjs", "tinybird.config.cjs")
# They lead tb to other folders, and away from where we send it.
_LEFT_OUT = ("tinybird.config.json", "tinybird.json")
_VENDOR = "vendor"
_TYPE = re.compile(
    r"^\s*TYPE\s+\"?(endpoint|materialized|copy|sink)\b", re.IGNORECASE | re.MULTILINE
)
_TARGET = re.compile(r"^\s*DATASOURCE\s+\"?([A-Za-z0-9_]+)", re.IGNORECASE | re.MULTILINE)
_VERSION = re.compile(r"^VERSION\s+([0-9]{1,6})\s*$", re.MULTILINE)
_KINDS = {
    "endpoint": Kind.ENDPOINT,
    "materialized": Kind.MATERIALIZATION,
    "copy": Kind.COPY,
    "sink": Kind.SINK,
}


@dataclass(frozen=True)
class DataProject:
    """A data project in a folder of its own: what it defines, its fixtures, the names of its tests.

    `fixtures` are pairs of a data source and a file, seen from the folder.
    """

    folder: Path
    resources: tuple[Resource, ...]
    fixtures: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The names of what it defines."""
        return frozenset(resource.name for resource in self.resources)


def prepare(files: Path, settings: Tinybird, *, into: Path, where: str) -> DataProject:
    """Copy the data project of an exported commit into a new folder.

    Copied are the files that tb reads, and nothing else: no `.tinyb`, no `.env`, no code. `where`
    is the key of the configuration that errors name. Raises `ConfigError`.
    """
    top = files / settings.path
    if not top.is_dir() or not top.resolve().is_relative_to(files.resolve()):
        raise ConfigError.at(
            f"{where}.path",
            f"the commit has no folder {settings.path}",
            "name the folder that holds the data project's datasources and pipes",
        )
    into.mkdir(mode=0o700)
    paths = []
    for path in _wanted(top, where):
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(top / path, target)
        if path.endswith((*_DEFINITIONS, INCLUDED)):
            _must_be_harmless(target, path, where)
        paths.append(path)
    # The next one above would otherwise be obeyed, and its code be run: anybody's, in a shared /tmp.
    (into / "tinybird.config.json").write_text("{}\n")
    return read(into, sorted(paths), settings.dialect)


def _wanted(top: Path, where: str) -> Iterator[str]:
    count = 0
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if not name.startswith("."))
        here = Path(folder)
        for name in (*names, *sorted(files)):
            path = here / name
            shown = path.relative_to(top).as_posix()
            if name in _CODE:
                raise _refused(
                    where, shown, "is code that tb would run with the token in its hands"
                )
            is_ours = path.suffix in (*_DEFINITIONS, *_DATA, *_OTHERS)
            if path.is_symlink() and (is_ours or name in names):
                raise _refused(where, shown, "is a symbolic link: what it shows may be anybody's")
            if name in names or not is_ours or name.startswith(".") or name in _LEFT_OUT:
                continue
            count += 1
            if count > MOST_FILES:
                raise _refused(where, str(top.name), f"holds more than {MOST_FILES} files")
            yield shown


def _must_be_harmless(file: Path, path: str, where: str) -> None:
    if file.stat().st_size > _LARGEST_BYTES:
        raise _refused(where, path, f"is larger than {_LARGEST_BYTES} bytes")
    text = file.read_text("utf-8", "replace")
    if problem := overreach(path, text, hidden=(TOKEN, *PROXIES)):
        raise _refused(where, path, one_line(problem)[:300])


def _refused(where: str, path: str, problem: str) -> ConfigError:
    hint = "remove it, or name the data project's folder, which has none, as path"
    return ConfigError.at(f"{where}.path", f"{one_line(path)} {problem}", hint)


def read(folder: Path, paths: list[str], dialect: Dialect) -> DataProject:
    """Return what the files of a folder define; raises `ConfigError` for one name used twice."""
    resources = [_resource(folder, path, dialect) for path in paths if _is_definition(path)]
    names = {resource.name for resource in resources if resource.kind is Kind.DATASOURCE}
    fixtures = [(name, path) for path in paths if (name := _fixture_of(path)) in names]
    tests = [path for path in paths if path.startswith("tests/") and not path.endswith(".result")]
    return DataProject(folder, tuple(resources), tuple(fixtures), tuple(tests))


def _is_definition(path: str) -> bool:
    return path.endswith(_DEFINITIONS) and not path.startswith(f"{_VENDOR}/")


def _resource(folder: Path, path: str, dialect: Dialect) -> Resource:
    text = _read(folder, path)
    name, suffix = Path(path).stem, Path(path).suffix
    version = _VERSION.search(text) if dialect is Dialect.CLASSIC else None
    if version:
        name = f"{name}__v{int(version[1])}"
    if suffix == ".datasource":
        return Resource(name, Kind.DATASOURCE, path)
    if suffix == ".connection":
        return Resource(name, Kind.CONNECTION, path)
    types = {_KINDS[found.lower()] for found in _TYPE.findall(text)}
    return Resource(name, next(iter(sorted(types)), Kind.PIPE), path)


def _fixture_of(path: str) -> str:
    """Return the data source that a file is a fixture of; empty when it is none."""
    parts = Path(path).parts
    return parts[-1].partition(".")[0] if "fixtures" in parts[:-1] and path.endswith(_DATA) else ""


def filled(project: DataProject) -> dict[str, str]:
    """Return the data sources that materialized pipes fill, each with its pipe."""
    pipes = [r for r in project.resources if r.kind is Kind.MATERIALIZATION]
    return {
        target: pipe.name
        for pipe in pipes
        for target in _TARGET.findall(_read(project.folder, pipe.path))
    }


def definition(project: DataProject, resource: Resource) -> str:
    """Return the text of a resource's file, with what it includes in its place.

    What is included is looked up from the folder of whoever included it. Empty for what is too much.
    """
    folder, base = project.folder, PurePosixPath(resource.path).parent
    waiting = [iter(_read(folder, resource.path).splitlines())]
    lines, size, included = list[str](), 0, 0
    while waiting:
        line = next(waiting[-1], None)
        if line is None:
            waiting.pop()
        elif (file := _included(folder, base, line)) is not None:
            waiting.append(iter(_read(folder, file).splitlines()))
            included += 1
        else:
            lines.append(line)
            size += len(line) + 1
        if included > _MOST_INCLUDED or size > _LARGEST_BYTES:
            return ""
    return "\n".join(lines)


def _included(folder: Path, base: PurePosixPath, line: str) -> str | None:
    if not INCLUDE.fullmatch(line):
        return None
    file = posixpath.normpath(base / line.split()[1].strip("\"'"))
    return file if not file.startswith(("/", "..")) and (folder / file).is_file() else None


def _read(folder: Path, path: str) -> str:
    return (folder / path).read_text("utf-8", "replace")
