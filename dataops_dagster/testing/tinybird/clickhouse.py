"""An engine that runs SQL for real: ClickHouse in this process, by the package `chdb-core`."""

from __future__ import annotations

import importlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from dataops_dagster.testing.tinybird.engines import Row, Table
from dataops_dagster.testing.tinybird.exchange import Json, Refused

_FORMATS = {"csv": "CSV", "ndjson": "JSONEachRow"}


class ClickHouse:
    """Databases are workspaces. Make one a process, for all stand-ins in it, and `close` it.

    Needs the package: `pip install --no-deps chdb-core`.
    """

    def __init__(self) -> None:
        self._session: Any = None

    def close(self) -> None:
        """Give back memory and files."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def create(self, table: Table, columns: tuple[tuple[str, str], ...], settings: Json) -> None:
        fields = ", ".join(f"`{name}` {kind}" for name, kind in columns)
        kept = [name for name, _ in columns if name in self._columns(table)]
        aside = Table(table.space, f"{table.name}__before")
        self._use(table.space)
        self.drop(aside)
        if kept:
            self._run(f"RENAME TABLE {_name(table)} TO {_name(aside)}")
        self.drop(table)
        self._run(f"CREATE TABLE {_name(table)} ({fields}) {_engine(settings)}")
        if kept:
            names = ", ".join(f"`{name}`" for name in kept)
            self._run(f"INSERT INTO {_name(table)} ({names}) SELECT {names} FROM {_name(aside)}")
            self.drop(aside)

    def drop(self, table: Table) -> None:
        self._run(f"DROP TABLE IF EXISTS {_name(table)} SYNC")

    def forget(self, space: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS `{space}` SYNC")

    def insert(self, table: Table, kind: str, content: str) -> int:
        before = self.count(table)
        header = kind == "csv" and _has_header(content, list(self._columns(table)))
        form = "CSVWithNames" if header else _FORMATS[kind]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows"
            file.write_text(content)
            self._run(f"INSERT INTO {_name(table)} FROM INFILE '{file}' FORMAT {form}")
        return self.count(table) - before

    def truncate(self, table: Table) -> None:
        self._run(f"TRUNCATE TABLE {_name(table)}")

    def count(self, table: Table) -> int:
        return int(str(self._rows(f"SELECT count() AS n FROM {_name(table)}")[0]["n"]))

    def copy(self, source: Table, target: Table) -> None:
        self._run(f"INSERT INTO {_name(target)} SELECT * FROM {_name(source)}")

    def select(self, space: str, sql: str) -> list[Row]:
        self._use(space)
        return self._rows(sql)

    def materialize(self, space: str, pipe: str, sql: str, target: str) -> None:
        self._use(space)
        self.unmaterialize(space, pipe)
        self._run(
            f"CREATE MATERIALIZED VIEW `{space}`.`mv_{pipe}` TO `{space}`.`{target}` AS {sql}"
        )

    def unmaterialize(self, space: str, pipe: str) -> None:
        self._run(f"DROP TABLE IF EXISTS `{space}`.`mv_{pipe}` SYNC")

    def check(self, space: str, sql: str) -> None:
        self._use(space)
        self._run(f"EXPLAIN {sql}")

    def _use(self, space: str) -> None:
        self._run(f"CREATE DATABASE IF NOT EXISTS `{space}`")
        self._run(f"USE `{space}`")

    def _columns(self, table: Table) -> list[str]:
        found = self._rows(
            "SELECT name FROM system.columns "
            f"WHERE database = '{table.space}' AND table = '{table.name}' ORDER BY position"
        )
        return [str(row["name"]) for row in found]

    def _rows(self, sql: str) -> list[Row]:
        told = json.loads(
            self._run(f"{sql} SETTINGS output_format_json_quote_64bit_integers = 0", "JSON")
        )
        return list(told["data"])

    def _run(self, sql: str, form: str = "CSV") -> str:
        if self._session is None:
            self._session = _start()
        try:
            return str(self._session.query(sql, form))
        except RuntimeError as error:
            raise Refused(400, _readable(str(error))) from None


def _start() -> Any:
    try:
        session = importlib.import_module("chdb.session")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "the engine ClickHouse needs the package chdb-core: pip install --no-deps chdb-core"
        ) from None
    return session.Session()


def _name(table: Table) -> str:
    return f"`{table.space}`.`{table.name}`"


def _engine(settings: Json) -> str:
    """Return the engine's clause; what replicates is not replicated here."""
    kind = str(settings.get("engine", "MergeTree")).replace("Replicated", "")
    clause = f"ENGINE = {kind}" + ("" if "(" in kind else "()")
    if settings.get("engine_partition_key"):
        clause += f" PARTITION BY ({settings['engine_partition_key']})"
    clause += f" ORDER BY ({settings.get('engine_sorting_key') or 'tuple()'})"
    return clause + (f" TTL {settings['engine_ttl']}" if settings.get("engine_ttl") else "")


def _has_header(content: str, names: list[str]) -> bool:
    return content.partition("\n")[0].replace('"', "").strip().split(",") == names


def _readable(error: str) -> str:
    """Return ClickHouse's error in one line: its code and what it says."""
    found = re.search(r"Code: (\d+)\. (?:DB::Exception: )?(.*)", error, re.DOTALL)
    said = f"[Error] {found[2]} (code {found[1]})" if found else error
    return " ".join(said.split())
