"""Where rows are, and who answers queries: the words of an engine, and one without SQL."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass, field
from typing import Protocol

from dataops_dagster.testing.tinybird.exchange import Json, Refused

Row = dict[str, object]
_WRAPPED = re.compile(
    r"\s*select\s+\*\s+from\s*\((.*)\)(\s+limit\s+\d+)?\s*", re.IGNORECASE | re.DOTALL
)
_SIMPLE = re.compile(
    r"\s*select\s+(?P<what>\*|count\(\))(\s+(as\s+)?(?P<name>\w+))?\s+from\s+(?P<table>[\w.`]+)"
    r"(\s+limit\s+(?P<limit>\d+))?(\s+offset\s+(?P<offset>\d+))?\s*;?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A data source's rows: the `space` is its workspace's."""

    space: str
    name: str


class Engine(Protocol):
    """Keeps rows and answers queries; raises `Refused` with the error of a query that is wrong."""

    def create(self, table: Table, columns: tuple[tuple[str, str], ...], settings: Json) -> None:
        """Make a table; one that is there keeps the rows of the columns that it keeps."""

    def drop(self, table: Table) -> None:
        """Remove a table, if it is there."""

    def forget(self, space: str) -> None:
        """Remove a space with all that is in it, if it is there."""

    def insert(self, table: Table, kind: str, content: str) -> int:
        """Append rows in a format, `csv` or `ndjson`; returns how many."""

    def truncate(self, table: Table) -> None:
        """Remove a table's rows."""

    def count(self, table: Table) -> int:
        """Return how many rows a table has."""

    def copy(self, source: Table, target: Table) -> None:
        """Append a table's rows to another table with the same columns."""

    def select(self, space: str, sql: str) -> list[Row]:
        """Return the rows of a query on the tables of a space."""

    def materialize(self, space: str, pipe: str, sql: str, target: str) -> None:
        """Let what is inserted from now on flow through a query into a table."""

    def unmaterialize(self, space: str, pipe: str) -> None:
        """Stop what `materialize` began, if it did."""

    def check(self, space: str, sql: str) -> None:
        """Raise `Refused` with the error of a query that cannot run."""


@dataclass
class Rows:
    """Rows without SQL: counts and whole tables are answered, nothing flows through a pipe."""

    tables: dict[Table, list[Row]] = field(default_factory=dict)
    columns: dict[Table, list[str]] = field(default_factory=dict)

    def create(self, table: Table, columns: tuple[tuple[str, str], ...], settings: Json) -> None:  # noqa: ARG002
        names = [name for name, _ in columns]
        before = self.tables.get(table, [])
        self.tables[table] = [{name: row.get(name, "") for name in names} for row in before]
        self.columns[table] = names

    def drop(self, table: Table) -> None:
        self.tables.pop(table, None)

    def forget(self, space: str) -> None:
        self.tables = {t: rows for t, rows in self.tables.items() if t.space != space}

    def insert(self, table: Table, kind: str, content: str) -> int:
        rows = read_rows(kind, content, self.columns[table])
        self.tables[table] += rows
        return len(rows)

    def truncate(self, table: Table) -> None:
        self.tables[table] = []

    def count(self, table: Table) -> int:
        return len(self.tables[table])

    def copy(self, source: Table, target: Table) -> None:
        self.tables[target] += [dict(row) for row in self.tables[source]]

    def select(self, space: str, sql: str) -> list[Row]:
        while inner := _WRAPPED.fullmatch(sql):
            sql = inner[1]
        found = _SIMPLE.fullmatch(sql)
        if not found:
            raise Refused(
                400, "This stand-in runs no SQL: start it with engine=ClickHouse(), or set answers"
            )
        rows = self.tables.get(self._named(space, found["table"].replace("`", "")))
        if rows is None:
            raise Refused(400, f"Resource '{found['table']}' not found")
        if found["what"] != "*":
            return [{found["name"] or "count()": len(rows)}]
        rest = rows[int(found["offset"] or 0) :]
        return rest[: int(found["limit"])] if found["limit"] else rest

    @staticmethod
    def _named(space: str, name: str) -> Table:
        origin, _, rest = name.rpartition(".")
        return Table(origin or space, rest)

    def materialize(self, space: str, pipe: str, sql: str, target: str) -> None:
        pass

    def unmaterialize(self, space: str, pipe: str) -> None:
        pass

    def check(self, space: str, sql: str) -> None:
        pass


def read_rows(kind: str, content: str, names: list[str]) -> list[Row]:
    """Return the rows of a file; a CSV whose first row is not the names has no header."""
    if kind == "ndjson":
        return [json.loads(line) for line in content.splitlines() if line.strip()]
    rows = [row for row in csv.reader(io.StringIO(content)) if row]
    if rows and rows[0] == names:
        rows = rows[1:]
    wrong = next((row for row in rows if len(row) != len(names)), None)
    if wrong:
        raise Refused(400, f"A row has {len(wrong)} values, the data source {len(names)} columns")
    return [dict(zip(names, row, strict=True)) for row in rows]


def write_rows(kind: str, rows: list[Row]) -> str:
    """Return rows in a format of ClickHouse; raises `Refused` for one that is not known here."""
    if kind == "json":
        meta = [{"name": name, "type": "String"} for name in (rows[0] if rows else ())]
        told = {"meta": meta, "data": rows, "rows": len(rows), "statistics": _STATISTICS}
        return json.dumps(told)
    if kind in ("ndjson", "jsoneachrow"):
        return "".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows)
    if kind in ("csv", "csvwithnames"):
        named = [list(rows[0])] if rows and kind == "csvwithnames" else []
        lines = [*named, *(row.values() for row in rows)]
        return "".join(",".join(map(_cell, line)) + "\n" for line in lines)
    raise Refused(400, f"This stand-in writes no {kind}: ask for JSON, JSONEachRow, CSV")


def _cell(value: object) -> str:
    """Return a value as ClickHouse writes it in CSV: only what is no number is quoted, NULL is not."""
    if value is None:
        return r"\N"
    text = str(value).replace('"', '""')
    return text if isinstance(value, (int, float)) else f'"{text}"'


_STATISTICS = {"elapsed": 0.001, "rows_read": 0, "bytes_read": 0}
