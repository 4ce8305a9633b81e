"""Answers queries and endpoints with rows, and says what a query reads."""

from __future__ import annotations

from dataops_dagster.testing.tinybird import queries
from dataops_dagster.testing.tinybird.account import Account, Right, Who
from dataops_dagster.testing.tinybird.datasources import own
from dataops_dagster.testing.tinybird.engines import write_rows
from dataops_dagster.testing.tinybird.exchange import Answer, Refused, Request, as_json, as_text

_TYPES = {"json": "application/json", "csv": "text/csv", "ndjson": "application/x-ndjson"}
_OURS = {"token", "cli_version", "from", "q", "pipeline", "semver"}


def show_tables(_account: Account, request: Request, _who: Who) -> Answer:
    """Say which tables a query reads."""
    sql = queries.render(request.form.get("q", ""), _Anything())
    return as_json({"tables": [["", name, ""] for name in queries.tables(sql)]})


def run(account: Account, request: Request, who: Who) -> Answer:
    """Answer a query on a workspace's data sources and pipes."""
    workspace = own(who)
    given = request.form.get("q") or request.body.decode()
    sql, kind = queries.split_format(given)
    sql = queries.render(sql, request.query)
    shown = {**workspace.resources, **dict.fromkeys(workspace.shared)}
    unknown = [n for n in queries.tables(sql) if n not in shown and not n.startswith("system.")]
    known = [n for n in queries.tables(sql) if n in workspace.pipes]
    if any("." in name for name in unknown):
        raise Refused(
            403, f"Resource '{unknown[0]}' not found: it is not shared with this workspace"
        )
    parts = [
        f"`{name}` AS ({queries.compose(workspace.pipes[name], workspace.resources, request.query)})"
        for name in known
    ]
    sql = f"WITH {', '.join(parts)} SELECT * FROM ({sql})" if parts else sql
    rows = account.engine.select(workspace.space, sql)
    return as_text(write_rows(kind, rows), _TYPES.get(kind, "text/plain"))


def call(account: Account, request: Request, who: Who) -> Answer:
    """Answer an endpoint in the format that its path names."""
    workspace, kind = own(who), request.groups["format"]
    pipe = workspace.pipe(request.groups["name"])
    if who.right is Right.READ and not _may_read(who, request, pipe.name):
        raise Refused(403, f"The token has no right to read {pipe.name}")
    if pipe.type != "endpoint":
        raise Refused(404, f"The pipe '{pipe.name}' does not have an endpoint yet")
    if pipe.name in account.answers:
        rows = account.answers[pipe.name]
    else:
        values = {k: v for k, v in request.form.items() if k not in _OURS}
        sql = queries.compose(pipe, workspace.resources, values)
        outer = request.form.get("q", "").strip()
        sql = f"WITH `_` AS ({sql}) {queries.split_format(outer)[0]}" if outer else sql
        rows = account.engine.select(workspace.space, sql)
    return as_text(write_rows(kind, rows), _TYPES.get(kind, "text/plain"))


def _may_read(who: Who, request: Request, name: str) -> bool:
    held = next(t for t in own(who).tokens.values() if t.token == request.token)
    return {"type": "PIPES:READ", "resource": name} in held.scopes


class _Anything(dict[str, str]):
    """A value for each parameter, so that a template can be read."""

    def get(self, _key: str, _default: object = None) -> str:
        return "1"
