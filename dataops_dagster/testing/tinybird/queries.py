"""What SQL reads, what a template becomes, and the one query that a pipe is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataops_dagster.testing.tinybird.datafiles import Datasource, Pipe
from dataops_dagster.testing.tinybird.exchange import Refused

_READ = re.compile(r"\b(?:FROM|JOIN)\s+`?([A-Za-z_]\w*(?:`?\.`?\w+)?)`?(?!\w*\s*\()", re.IGNORECASE)
_NAMED = re.compile(r"`?(\w+)`?\s+AS\s*\(\s*(?:SELECT|WITH)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(
    r"{%-?\s*if\s+(not\s+)?defined\((\w+)\)\s*-?%}((?:(?!{%).)*)"
    r"(?:{%-?\s*else\s*-?%}((?:(?!{%).)*))?{%-?\s*end\s*-?%}",
    re.DOTALL,
)
_VALUE = re.compile(r"{{\s*(\w+)\(\s*(\w+)\s*(?:,\s*([^,)]*))?[^)]*\)\s*}}")
_FORMAT = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_NUMBERS = re.compile(r"(U?Int|Float)\d+")


class Unset(Refused):
    """A parameter that has no default was not given."""


def split_format(sql: str) -> tuple[str, str]:
    """Return a query without its `FORMAT`, and the format in lower case, `json` by default."""
    found = _FORMAT.search(sql)
    return (sql[: found.start()], found[1].lower()) if found else (sql.rstrip(" ;\n"), "json")


def tables(sql: str) -> list[str]:
    """Return the names that a query reads, in order, without those that it defines itself."""
    plain = _COMMENT.sub(" ", sql)
    own = set(_NAMED.findall(plain))
    found = (name.replace("`", "") for name in _READ.findall(plain))
    return list(dict.fromkeys(name for name in found if name not in own))


def render(sql: str, values: Mapping[str, str]) -> str:
    """Return a template's SQL for parameters: `Type(name, default)` and `if defined(name)`."""
    sql = re.sub(r"^\s*%", "", sql)
    while (chosen := _BLOCK.sub(lambda found: _choose(found, values), sql)) != sql:
        sql = chosen
    sql = _VALUE.sub(lambda found: _literal(found, values), sql)
    left = re.search(r"{[{%].*?[%}]}", sql)
    if left:
        raise Refused(400, f"This stand-in knows no template {left[0]}")
    return sql.strip()


def _choose(found: re.Match[str], values: Mapping[str, str]) -> str:
    return (found[3] if (found[2] in values) != bool(found[1]) else found[4]) or ""


def _literal(found: re.Match[str], values: Mapping[str, str]) -> str:
    kind, name, default = found[1], found[2], found[3]
    value = values.get(name)
    if value is None:
        if not default:
            raise Unset(400, f"Template Syntax Error: parameter '{name}' is required")
        value = default.strip().strip("'\"")
    if not _NUMBERS.fullmatch(kind):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise Refused(400, f"Error validating '{value}' to type {kind}")
    return value


def compose(
    pipe: Pipe, resources: Mapping[str, Datasource | Pipe], values: Mapping[str, str]
) -> str:
    """Return one query for a pipe's output; what it reads of other nodes and pipes stands before."""
    return _compose(pipe, resources, values, above=())


def _compose(
    pipe: Pipe,
    resources: Mapping[str, Datasource | Pipe],
    values: Mapping[str, str],
    *,
    above: tuple[str, ...],
) -> str:
    if pipe.name in above:
        raise Refused(400, f"Pipes read each other: {' -> '.join([*above, pipe.name])}")
    before: dict[str, str] = {}
    rendered = [(node, render(node.sql, values)) for node in pipe.nodes]
    for _, sql in rendered:
        for name in tables(sql):
            other = resources.get(name)
            if isinstance(other, Pipe):
                before[name] = _compose(other, resources, values, above=(*above, pipe.name))
    output = next(sql for node, sql in rendered if node is pipe.output)
    before.update({node.name: sql for node, sql in rendered if node is not pipe.output})
    if not before:
        return output
    named = ", ".join(f"`{name}` AS ({sql})" for name, sql in before.items())
    return f"WITH {named} SELECT * FROM ({output})"


def missing(pipe: Pipe, known: set[str]) -> list[str]:
    """Return what a pipe reads that is neither known nor a node of its own, and unknown targets."""
    nodes = {node.name for node in pipe.nodes}
    found = []
    for node in pipe.nodes:
        plain = re.sub(r"{{.*?}}|{%.*?%}", " 1 ", node.sql.lstrip(" %\n"), flags=re.DOTALL)
        found += [name for name in tables(plain) if name not in known | nodes]
        if node.type == "materialized" and node.datasource and node.datasource not in known:
            found.append(node.datasource)
    return [name for name in found if not name.startswith(("system.", "numbers"))]
