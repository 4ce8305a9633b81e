"""Keep a target's own YAML keys in a merged file, by cutting and pasting source text; pure.

Never constructs a value, never repeats one in a message, and never returns a text that was not
read again and found to differ in the kept keys only.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from dataops_dagster.yaml_text import File, Node, Unkeepable, decoded, read

_MERGE_KEY = "<<"
_COLON = re.compile(r"\s*:")
_EMPTY = re.compile(r"(\{\s*\})?")

_Path = tuple[str, ...]
_Edit = tuple[int, int, str]
"""A span of a file, and the text to put in its place."""


def keep(merged: bytes, own: bytes, keys: Sequence[tuple[str, ...]]) -> bytes:
    """Return `merged` with each key as `own` has it: its value's source text, or its absence.

    Raises Unkeepable if a file, or a key's place in it, leaves a doubt about what to write.
    """
    if merged == own:
        return merged
    before = after = read("the merged file", decoded("the merged file", merged))
    text = decoded("the target's file", own).replace("\r\n", "\n")
    target = read("the target's file", text)
    for path in keys:
        after = _kept(after, target, path)
    bom = codecs.BOM_UTF8 if merged.startswith(codecs.BOM_UTF8) else b""
    return merged if after is before else bom + after.text.encode()


def has(data: bytes, key: tuple[str, ...]) -> bool:
    """Say whether a file has a key; raises Unkeepable where that leaves a doubt."""
    name = "the file"
    return len(_trail(read(name, decoded(name, data)), key)) == len(key)


@dataclass(frozen=True)
class _Entry:
    """A key of a mapping, its value, and where they stand in the file."""

    file: File
    mapping: Node
    index: int

    @property
    def key(self) -> Node:
        return self.mapping.children[2 * self.index]

    @property
    def value(self) -> Node:
        return self.mapping.children[2 * self.index + 1]

    @property
    def line(self) -> int:
        return self.file.text.rfind("\n", 0, self.key.start) + 1

    @property
    def column(self) -> int:
        before = self.file.text[self.line : self.key.start]
        if before.strip(" ") and not self.mapping.flow:
            raise Unkeepable(f"{self.file.name} has a key in the way that does not begin its line")
        return _indent(before)

    @property
    def colon(self) -> int:
        """Where the text after the colon starts."""
        colon = _COLON.match(self.file.text, self.key.end)
        if not colon:
            raise Unkeepable(f"{self.file.name} has a key in the way that has no colon")
        return colon.end()

    @property
    def end(self) -> int:
        """Where its last line ends; comments below it belong to it if they are indented deeper."""
        if self.mapping.flow:
            return self.value.end
        comment = rf"(\r?\n[ \t]*)*\r?\n {{{self.column + 1},}}#[^\r\n]*"
        rest = re.compile(rf"[^\r\n]*({comment})*").match(self.file.text, self.value.end)
        assert rest
        return rest.end()

    @property
    def inline(self) -> bool:
        return "\n" not in self.file.text[self.key.end : self.value.end]

    @property
    def tail(self) -> str:
        """The text after the colon, fit for a block mapping."""
        text = self.file.text[self.colon : self.end]
        return text if not text or text[0].isspace() else f" {text}"


def _kept(merged: File, target: File, path: _Path) -> File:
    edit = _edit(merged, target, path)
    if not edit:
        return merged
    start, end, text = edit
    name = f"{merged.name}, with {'.'.join(path)} kept,"
    result = read(name, merged.text[:start] + text + merged.text[end:])
    same = _without(result.root, path) == _without(merged.root, path)
    if not same or _edit(result, target, path):
        raise Unkeepable(f"{name} would not read back as it should")
    return replace(result, name=merged.name)


def _edit(merged: File, target: File, path: _Path) -> _Edit | None:
    """Return what makes a key what it is in the target; None if it is that already."""
    name = ".".join(path)
    present, wanted = _trail(merged, path), _trail(target, path)
    if len(wanted) < len(path):
        return _removal(present, name) if len(present) == len(path) else None
    nodes = list(wanted[-1].value.walk())
    anchors = {node.anchor for node in nodes if node.kind != "alias"}
    if any(node.kind == "alias" and node.anchor not in anchors for node in nodes):
        raise Unkeepable(f"{name} in {target.name} has an alias of something outside of it")
    if len(present) == len(path):
        return _replacement(present, wanted[-1], name)
    place = _place(merged, present, wanted)
    if not place:
        raise Unkeepable(f"{name} cannot be inserted into a flow mapping (braces)")
    start, end, column, before, after = place
    lines = merged.ended(_lines(wanted[len(present) :], column, name))
    return start, end, before + lines + after


def _trail(file: File, path: _Path) -> list[_Entry]:
    """Return the entries that lead to a key, as far as there are any."""
    trail: list[_Entry] = []
    node = file.root
    for depth, part in enumerate(path):
        where = f"{'.'.join(path[:depth]) or 'the top level'} in {file.name}"
        if node.empty:
            break
        if node.kind != "mapping":
            raise Unkeepable(f"{where} is no mapping ({node.kind})")
        found = node.find(part)
        if len(found) > 1:
            raise Unkeepable(f"{where} has the key {part} more than once")
        if any(key.kind == "alias" for key in node.keys):
            raise Unkeepable(f"{where} has an alias for a key")
        if node.find(_MERGE_KEY) and (not found or part == _MERGE_KEY):
            raise Unkeepable(f"{where} may have the key {part} from a merge key ({_MERGE_KEY})")
        if not found:
            break
        trail.append(_Entry(file, node, found[0]))
        node = trail[-1].value
    return trail


def _replacement(trail: list[_Entry], source: _Entry, name: str) -> _Edit | None:
    entry = trail[-1]
    old, new, file = entry.value, source.value, entry.file
    if entry.mapping.flow or (entry.inline and source.inline):
        start, end, text = old.start, old.end, source.file.source(new)
        if old.empty or new.empty:  # the space after the colon comes and goes with the value
            start, text = entry.colon, text and f" {text}"
    else:
        start, end, text = entry.colon, entry.end, source.tail
    text = _shifted(text, entry.column - source.column)
    if text == file.text[start:end].replace("\r\n", "\n") and old == new:
        return None
    _refuse_shared_anchors(trail, (old,), name)
    return start, end, file.ended(text)


def _removal(trail: list[_Entry], name: str) -> _Edit:
    entry = trail[-1]
    text = entry.file.text
    if entry.mapping.flow:
        raise Unkeepable(f"{name} cannot be removed from a flow mapping (braces)")
    _refuse_shared_anchors(trail, (entry.key, entry.value), name)
    start, end = entry.line, text.find("\n", entry.end) + 1 or len(text)
    if len(entry.mapping.keys) > 1 or len(trail) == 1:
        return start, end, ""
    above = trail[-2].colon
    return above, end, " {}" + text[above:start]  # with nothing after its colon it would be null


def _place(
    merged: File, present: list[_Entry], wanted: list[_Entry]
) -> tuple[int, int, int, str, str] | None:
    """Return a span for missing lines, their column, and the text before and after them."""
    text, line_end = merged.text, merged.ended("\n")
    parent = present[-1].value if present else merged.root
    missing = wanted[len(present)]
    if parent.children and not parent.flow:
        if not missing.index:
            first = _Entry(merged, parent, 0)
            return first.line, first.line, first.column, "", line_end
        places = {key.value: n for n, key in enumerate(parent.keys)}
        earlier = (key.value for key in reversed(missing.mapping.keys[: missing.index]))
        shared = next((places[name] for name in earlier if name in places), len(parent.keys) - 1)
        before = _Entry(merged, parent, shared)
        return before.end, before.end, before.column, line_end, ""
    if present:
        above = present[-1]
        if above.mapping.flow or not _EMPTY.fullmatch(merged.source(parent)):
            return None
        column = above.column + _step(wanted[len(present) - 1], missing)
        return above.colon, above.end, column, text[parent.end : above.end] + line_end, ""
    if parent.flow:
        return None
    ended = text[-1:] in ("", "\n")
    return len(text), len(text), 0, "" if ended else line_end, line_end if ended else ""


def _lines(entries: list[_Entry], column: int, name: str) -> str:
    """Return the last entry's lines, in a bare mapping for each entry before."""
    lines = ""
    for entry, child in pairwise(entries):
        if entry.value.anchor or entry.value.tag != Node.tag:
            raise Unkeepable(
                f"{name} is missing, and so is a mapping around it with a tag or anchor"
            )
        lines += f"{' ' * column}{entry.file.source(entry.key)}:\n"
        column += _step(entry, child)
    last = entries[-1]
    tail = _shifted(last.tail, column - last.column)
    return f"{lines}{' ' * column}{last.file.source(last.key)}:{tail}"


def _step(entry: _Entry, child: _Entry) -> int:
    return 2 if child.mapping.flow else child.column - entry.column


def _shifted(text: str, by: int) -> str:
    """Move all lines but the first: right, or left as far as they can."""
    first, *rest = text.split("\n")
    if by < 0:
        return "\n".join([first, *(line[min(-by, _indent(line)) :] for line in rest)])
    return "\n".join([first, *(line and " " * by + line for line in rest)])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _refuse_shared_anchors(trail: list[_Entry], nodes: tuple[Node, ...], name: str) -> None:
    start, end = nodes[0].start, nodes[-1].end
    anchors = {each.anchor for node in nodes for each in node.walk() if each.kind != "alias"}
    for node in trail[0].mapping.walk():
        if node.kind == "alias" and node.anchor in anchors and not start <= node.start < end:
            raise Unkeepable(f"{name} in {trail[0].file.name} has an anchor that is used elsewhere")


def _without(node: Node, path: _Path) -> Node | None:
    """Return a tree without a key and without the mappings around it that hold nothing else."""
    if not path or node.empty:
        return None
    if node.kind != "mapping":
        return node
    children = [*node.children]
    for n in reversed(node.find(path[0])):
        rest = _without(node.children[2 * n + 1], path[1:])
        children[2 * n : 2 * n + 2] = (node.children[2 * n], rest) if rest else ()
    return replace(node, children=tuple(children)) if children else None
