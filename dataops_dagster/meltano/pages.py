"""Tables as one HTML page that needs nothing else: no script, no font, no network. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from dataops_dagster.configuration import Table

_STYLE = """\
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8884; padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: Canvas; }
td { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
tr:hover td { background: #8881; }
"""
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, tables: Iterable[Table], *, nothing: str) -> str:
    """Return a page with these tables, or with the sentence `nothing` if there is none."""
    body = "\n".join(_section(*table) for table in tables) or f"<p>{escape(nothing)}</p>"
    return _PAGE.format(title=escape(title), style=_STYLE, body=body)


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"<h2>{escape(title)}</h2>", "<table>", _row("th", header)]
    return "\n".join([*lines, *(_row("td", row) for row in rows), "</table>"])


def _row(cell: str, texts: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(text)}</{cell}>' for text in texts)}</tr>"
