"""Reads and writes datafiles, the text of data sources and pipes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from dataops_dagster.testing.tinybird.exchange import Refused

_NODE_TYPES = ("endpoint", "materialized", "copy", "sink", "standard")
_TOKEN = re.compile(r'"?([\w -]+?)"?\s+(READ|APPEND)')


@dataclass(frozen=True)
class Datasource:
    """A data source; `settings` are its `ENGINE…` lines, lower-case."""

    name: str
    columns: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    description: str = ""
    shared_with: tuple[str, ...] = ()
    tokens: tuple[tuple[str, str], ...] = ()

    @property
    def schema(self) -> str:
        """The columns as SQL."""
        return ", ".join(f"`{name}` {kind}" for name, kind in self.columns)


@dataclass(frozen=True)
class Node:
    """A query of a pipe; a materialized one writes into `datasource`."""

    name: str
    sql: str = ""
    type: str = "standard"
    datasource: str | None = None


@dataclass(frozen=True)
class Pipe:
    """A pipe: its nodes in order."""

    name: str
    nodes: tuple[Node, ...] = ()
    description: str = ""
    tokens: tuple[tuple[str, str], ...] = ()

    @property
    def type(self) -> str:
        """What the pipe is, in the API's words; `default` is unpublished."""
        return next((node.type for node in self.nodes if node.type != "standard"), "default")

    @property
    def output(self) -> Node:
        """The node whose rows are the pipe's."""
        return next((node for node in self.nodes if node.type != "standard"), self.nodes[-1])


def read(filename: str, text: str) -> Datasource | Pipe | None:
    """Return what a datafile says; none for a connection. Raises `Refused` with what is wrong."""
    stem, _, extension = filename.rpartition("/")[2].partition(".")
    keywords = _keywords(text)
    if extension == "datasource":
        return _datasource(stem, keywords)
    return _pipe(stem, keywords) if extension == "pipe" else None


def _keywords(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and found:
            key, value = found[-1]
            found[-1] = (key, f"{value}\n{line.strip()}".strip())
            continue
        key, _, value = line.strip().partition(" ")
        found.append((key.upper(), value.strip().removeprefix(">").strip()))
    return found


def _datasource(name: str, keywords: list[tuple[str, str]]) -> Datasource:
    made = Datasource(name)
    for key, value in keywords:
        if key == "SCHEMA":
            made = replace(made, columns=columns(value))
        elif key.startswith("ENGINE"):
            made = replace(made, settings=(*made.settings, (key.lower(), value.strip('"'))))
        elif key == "DESCRIPTION":
            made = replace(made, description=value)
        elif key == "SHARED_WITH":
            made = replace(made, shared_with=tuple(re.findall(r"[\w-]+", value)))
        elif key == "TOKEN":
            made = replace(made, tokens=(*made.tokens, _token(value)))
        elif key not in ("TAGS", "FORWARD_QUERY", "BACKFILL"):
            raise Refused(400, f"{key} is not a valid keyword of a data source")
    if not made.columns:
        raise Refused(400, "The data source has no SCHEMA")
    return made


def _pipe(name: str, keywords: list[tuple[str, str]]) -> Pipe:
    made, nodes = Pipe(name), list[Node]()
    for key, value in keywords:
        if key == "NODE":
            nodes.append(Node(value))
        elif key == "TOKEN":
            made = replace(made, tokens=(*made.tokens, _token(value)))
        elif key == "DESCRIPTION":
            made = made if nodes else replace(made, description=value)
        elif key not in ("SQL", "TYPE", "DATASOURCE", "TAGS"):
            raise Refused(400, f"{key} is not a valid keyword of a pipe")
        elif key != "TAGS":
            if not nodes:
                raise Refused(400, f"{key} stands before the first NODE")
            nodes[-1] = _said(nodes[-1], key, value)
    if not nodes or not all(node.sql for node in nodes):
        raise Refused(400, "Each pipe needs a NODE, and each NODE needs SQL")
    return replace(made, nodes=tuple(nodes))


def _said(node: Node, key: str, value: str) -> Node:
    if key == "SQL":
        return replace(node, sql=value)
    if key == "DATASOURCE":
        return replace(node, datasource=value)
    if value.lower() not in _NODE_TYPES:
        raise Refused(400, f"{value} is not a type of a node: {', '.join(_NODE_TYPES)}")
    return replace(node, type=value.lower())


def _token(value: str) -> tuple[str, str]:
    found = _TOKEN.fullmatch(value.strip())
    if not found:
        raise Refused(400, f"TOKEN {value} is not a name and READ or APPEND")
    return found[1], found[2]


def columns(schema: str) -> tuple[tuple[str, str], ...]:
    """Return the names and types of a schema; what follows a type, such as a JSON path, is left out."""
    found = []
    for part in re.split(r",\s*(?![^()]*\))", schema):
        name, _, rest = part.strip().partition(" ")
        kind = re.split(r"\s+(?:`json:|DEFAULT|CODEC)", rest.strip())[0]
        if name:
            found.append((name.strip("`"), kind.strip()))
    return tuple(found)


def write_datasource(datasource: Datasource) -> str:
    """Return the datafile of a data source."""
    lines = [*_block("DESCRIPTION", datasource.description)]
    lines += [f'TOKEN "{name}" {right}\n' for name, right in datasource.tokens]
    lines += _block("SCHEMA", ",\n".join(f"`{name}` {kind}" for name, kind in datasource.columns))
    lines += [f'{key.upper()} "{value}"' for key, value in datasource.settings]
    return "\n".join([*lines, *_block("SHARED_WITH", "\n".join(datasource.shared_with))]) + "\n"


def write_pipe(pipe: Pipe) -> str:
    """Return the datafile of a pipe."""
    lines = [*_block("DESCRIPTION", pipe.description)]
    lines += [f'TOKEN "{name}" {right}\n' for name, right in pipe.tokens]
    for node in pipe.nodes:
        lines += [f"NODE {node.name}", *_block("SQL", node.sql)]
        lines += [f"TYPE {node.type}"] if node.type != "standard" else []
        lines += [f"DATASOURCE {node.datasource}"] if node.datasource else []
    return "\n".join(lines) + "\n"


def _block(key: str, value: str) -> list[str]:
    if not value:
        return []
    return [f"{key} >", *(f"    {line}" for line in value.splitlines()), ""]
