"""Makes the site of these pages: brings in what lies beside them, and writes what types know.

A hook of MkDocs. Pages link as on the git host; here the links are moved to where the site has
the files. It writes nothing into the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dataops_dagster import config as dataops
from dataops_dagster.cli import main

ROOT = Path(__file__).parent.parent
BESIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "dataops.yaml",
    "workspace.yaml",
    "benchmarks/results/*.*",
    "dataops_dagster/dataops.schema.json",
    "dataops_dagster/demo/dagster.yaml",
    "examples/**/*.*",
    "locked/sbom.cdx.json",
    "tests/**/*.py",
)
"""What pages link to outside of docs."""

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema, or a part of one."""

_LINK = re.compile(r"(\]\()([^)#\s]+)|((?:src|href)=\")([^\"#]+)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


# --- what lies beside -------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add to the site what its pages link to, and what is generated."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_bytes()
            files.append(File.generated(config, place(path.relative_to(ROOT)), content=text))
    files.append(File.generated(config, "reference/keys.md", content=keys(dataops.schema())))
    files.append(File.generated(config, "reference/commands.md", content=commands(main)))
    return files


def place(path: Path) -> str:
    """Return where the site has a file of the repository."""
    if path.parts[0] == "docs":
        return path.relative_to("docs").as_posix()
    return "index.md" if path == Path("README.md") else path.as_posix()


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # as MkDocs calls it
    """Return a page with its links as the site needs them; examples stay as they are."""
    here = page.file.src_uri
    source = "README.md" if here == "index.md" else here
    if not (ROOT / source).exists():
        source = f"docs/{source}"
    parts = _CODE.split(markdown)
    parts[::2] = [_LINK.sub(lambda m: _moved(m, source, here), text) for text in parts[::2]]
    return "".join(parts)


def _moved(found: re.Match[str], source: str, here: str) -> str:
    before, link = found[1] or found[3], found[2] or found[4]
    if re.match(r"[a-z]+:", link):
        return found[0]
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return before + posixpath.relpath(place(Path(target)), posixpath.dirname(here) or ".")


# --- what types know --------------------------------------------------------------------------


def keys(schema: Schema) -> str:
    """Return a page with every key of dataops.yaml, from its JSON Schema."""
    parts = schema["$defs"]
    lines = [
        "# Every key of `dataops.yaml`",
        "",
        "Made from the types when the site is built. [Configuration](../configuration.md) explains.",
    ]
    for name, part in {"The file": schema, **parts}.items():
        if "properties" in part:
            lines += ["", f"## {name}", "", "| key | type | default | says |", "|---|---|---|---|"]
            lines += [_row(key, of, part, parts) for key, of in part["properties"].items()]
    return "\n".join(lines) + "\n"


def _row(key: str, of: Schema, part: Schema, parts: Schema) -> str:
    default = of.get("default")
    told = "none" if default is None else f"`{json.dumps(default)}`"
    told = "required" if key in part.get("required", ()) else told
    cells = (f"`{key}`", _type(of, parts), told, " ".join(of.get("description", "").split()))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _type(of: Schema, parts: Schema) -> str:  # noqa: PLR0911  # one answer a shape
    """Return how a value of this schema is told in a table's cell."""
    match of:
        case {"anyOf": [*each]} | {"oneOf": [*each]}:
            return " or ".join(_type(one, parts) for one in each if one.get("type") != "null")
        case {"$ref": str(link)}:
            name = link.rpartition("/")[2]
            named = "properties" in parts[name]
            return f"[{name}](#{name.lower()})" if named else _type(parts[name], parts)
        case {"const": value}:
            return f"`{value}`"
        case {"enum": [*values]}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            return f"list of {_type(items, parts)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"mapping to {_type(values, parts)}"
        case _:
            return str(of.get("type", "anything"))


def commands(group: click.Group) -> str:
    """Return a page with the help of every command."""
    lines = [
        "# Every command",
        "",
        "Made from the program when the site is built. [Command line](../cli.md) explains.",
    ]
    for context in _contexts(click.Context(group, info_name="dataops")):
        text = context.command.get_help(context)
        lines += ["", f"## {context.command_path}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def _contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from _contexts(click.Context(command, parent=context, info_name=name))
