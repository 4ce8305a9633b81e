"""What a definition says that Tinybird tells, too: columns, engine, the SQL of nodes. Pure.

Knows as much of the syntax as that takes. Formatting, comments and Classic's versions make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_dagster.text import one_line

UNKNOWN = "cannot be compared"
_MOST = 10_000
_KEYWORD = re.compile(
    r"(?:schema|index|indexes|indices|engine\w*|node|scope|description|type|datasource|tags|mode|filter"
    r"|target_datasource|copy_\w+|resource|token|include|sql|version|kafka_\w+|import_\w+|export_\w+"
    r"|shared_with|source|maintainer|\w+_key|ttl|settings|test|forward_query|backfill\w*|deployment_\w+)",
    re.IGNORECASE,
)
_VALUE_OF_A_VARIABLE = re.compile(r"\$\{?[A-Za-z_$]")
# What is never closed goes to the end: looked for again from each of its letters, it would take for ever.
_QUOTED = r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|`[^`]*`?"
_TOKEN = re.compile(rf"--[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?|{_QUOTED}|\w+|\S", re.DOTALL)
_COLUMN = re.compile(r"`?([^`\s]+)`?\s+(.+)", re.DOTALL)
_AFTER_A_TYPE = re.compile(r"\s(?:`|(?:DEFAULT|CODEC|MATERIALIZED|COMMENT)\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Definition:
    """A data source's columns, types by names, and engine; or a pipe's nodes, their SQL by names.

    None stands where nobody can say.
    """

    columns: Mapping[str, str] | None = None
    engine: Mapping[str, str] = field(default_factory=dict)
    nodes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Difference:
    """How a definition differs from what is there, in words, and whether that may lose rows or values."""

    told: str
    is_lossy: bool = False


# --- read ---------------------------------------------------------------------------------------


def of_file(text: str) -> Definition:
    """Read a definition, in which what it includes stands already."""
    columns, engine, nodes = None, dict[str, str](), dict[str, str | None]()
    node = ""
    for keyword, value in _entries(text):
        if keyword == "include":
            return Definition()  # it is not there
        if keyword == "schema":
            columns = _columns(value) if _is_plain(value) else None
        elif keyword.startswith("engine") and _is_plain(value):
            engine[keyword.removeprefix("engine").removeprefix("_") or "engine"] = _setting(value)
        elif keyword == "node":
            node = value.strip("\"'")
        elif keyword == "sql":
            nodes[node] = _sql(value) if _is_plain(value) else None
    known = {name: sql for name, sql in nodes.items() if sql is not None}
    return Definition(columns, engine, known if known and len(known) == len(nodes) else None)


def of_datasource(told: Mapping[str, Any]) -> Definition:
    """Read what Tinybird answers about a data source."""
    schema, engine = told.get("schema"), told.get("engine")
    sql = schema.get("sql_schema") if isinstance(schema, dict) else None
    settings = engine if isinstance(engine, dict) else {}
    return Definition(
        _columns(sql) if isinstance(sql, str) and sql else None,
        {str(key): _setting(str(value)) for key, value in settings.items() if value is not None},
    )


def of_pipe(told: Mapping[str, Any]) -> Definition:
    """Read what Tinybird answers about a pipe."""
    listed = told.get("nodes")
    nodes = [n for n in listed[:_MOST] if isinstance(n, dict)] if isinstance(listed, list) else []
    if not nodes or not all(isinstance(node.get("sql"), str) for node in nodes):
        return Definition()
    return Definition(nodes={str(node.get("name")): _sql(node["sql"]) for node in nodes})


def _is_plain(value: str) -> bool:
    """Say whether a value is what stands there: Classic puts variables into it."""
    return not _VALUE_OF_A_VARIABLE.search(value)


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield keywords in lower case, each with its value: the rest of its line, or the lines below it."""
    keyword, lines = "", list[str]()
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if line[0].isspace() or not _KEYWORD.fullmatch(word.strip()):
            lines.append(line)
            continue
        if keyword:
            yield keyword, "\n".join(lines).strip()
        keyword, lines = word.strip().lower(), [rest.strip().removeprefix(">")]
    if keyword:
        yield keyword, "\n".join(lines).strip()


def _columns(schema: str) -> dict[str, str]:
    """Return the types of columns; what follows a type, such as a path or a default, is left out."""
    found = {}
    for part in _parts(schema):
        if column := _COLUMN.fullmatch(part.strip()):
            kind = _AFTER_A_TYPE.split(column[2], maxsplit=1)[0]
            found[column[1]] = "".join(kind.split())
    return found


def _parts(schema: str) -> Iterator[str]:
    """Yield what stands between commas, but for those within parentheses and quotes."""
    begin = depth = 0
    for token in re.finditer(rf"{_QUOTED}|[(),]", schema):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "," and depth == 0:
            yield schema[begin : token.start()]
            begin = token.end()
    yield schema[begin:]


def _setting(value: str) -> str:
    """Return a setting of an engine as it is compared: `(a, b)` is `a,b`, `tuple()` is nothing."""
    plain = "".join(value.strip().strip("\"'").split()).removeprefix("Replicated")
    return re.sub(r"^(?:tuple)?\(([^()]*)\)$", r"\1", plain)


def _sql(text: str) -> str:
    tokens = (token[0] for token in _TOKEN.finditer(text))
    kept = (token for token in tokens if not token.startswith(("--", "/*")))
    return " ".join(re.sub(r"__v[0-9]+$", "", token) for token in kept).removesuffix(" ;")


# --- compare ------------------------------------------------------------------------------------


def of_tables(before: Definition, after: Definition) -> Difference | None:
    """Say how a data source becomes other; None when all that can be compared is the same."""
    if before.columns is None or after.columns is None:
        return Difference(UNKNOWN, is_lossy=True)
    told = [*_of_columns(before.columns, after.columns), *_of_engine(before.engine, after.engine)]
    if not told:
        return None
    return Difference(_shown("; ".join(d.told for d in told)), any(d.is_lossy for d in told))


def of_queries(before: Definition, after: Definition) -> Difference | None:
    """Say how a pipe becomes other; None when the SQL of all its nodes is the same."""
    if before.nodes is None or after.nodes is None:
        return Difference(UNKNOWN)
    old, new = before.nodes, after.nodes
    names = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    return Difference(_shown(f"SQL of {', '.join(names)}")) if names else None


def _shown(text: str) -> str:
    return one_line(text)[:900]


def _of_columns(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name, kind in before.items():
        if name not in after:
            yield Difference(f"drops column {name}", is_lossy=True)
        elif after[name] != kind:
            is_wider = after[name] == f"Nullable({kind})"
            yield Difference(f"{name}: {kind} becomes {after[name]}", is_lossy=not is_wider)
    for name in after:
        if name not in before:
            yield Difference(f"adds column {name}")


def _of_engine(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for key, value in after.items():
        # What is not told cannot be compared; but where no TTL is told, there is none.
        known = before.get(key, "" if key == "ttl" else value)
        if value != known:
            told = f"{key.replace('_', ' ')}: {known or 'none'} becomes {value or 'none'}"
            yield Difference(told, is_lossy=True)
    if before.get("ttl") and "ttl" not in after:
        yield Difference("takes the TTL away")
