"""Read a YAML file as nodes that know where they stand in its text; pure.

Never constructs a value, and never repeats one in a message.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

SIZE_LIMIT_BYTES = 256_000
_DEPTH_LIMIT = 100
# These end a line for YAML 1.1, but not for YAML 1.2, git and most editors.
_ODD_LINE_END = re.compile("\r(?!\n)|[\x85\u2028\u2029]")


class Unkeepable(ValueError):  # noqa: N818  # a word for the key, like Held and Conflicted
    """A key cannot be kept safely; `reason` says why and where, and never repeats a value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Node:
    """A node as it is written: an alias is a leaf, so that no alias can blow up the tree."""

    kind: str
    tag: tuple[object, ...] = (None, True)
    anchor: str | None = None
    value: str = ""
    children: tuple[Node, ...] = ()
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)
    flow: bool = field(default=False, compare=False)

    @property
    def empty(self) -> bool:
        """Say whether nothing is written there."""
        return self.kind == "scalar" and self.start == self.end

    @property
    def keys(self) -> tuple[Node, ...]:
        """Return the keys of a mapping."""
        return self.children[::2]

    def find(self, part: str) -> list[int]:
        """Return the numbers of the entries with a key; more than one if it is there again."""
        keys = enumerate(self.keys)
        return [n for n, key in keys if key.kind == "scalar" and key.value == part]

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, as they stand in the file."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class File:
    """A file's text, its root, and what a message calls it."""

    name: str
    text: str
    root: Node

    def source(self, node: Node) -> str:
        """Return the text of a node."""
        return self.text[node.start : node.end]

    def ended(self, text: str) -> str:
        """Give all lines the line end that is more frequent here."""
        crlf = self.text.count("\r\n") * 2 > self.text.count("\n")
        return text.replace("\n", "\r\n") if crlf else text


def decoded(name: str, data: bytes) -> str:
    """Return a file's text without a byte order mark; raises `Unkeepable` if it is no UTF-8."""
    if len(data) > SIZE_LIMIT_BYTES:
        raise Unkeepable(f"{name} is larger than {SIZE_LIMIT_BYTES} bytes")
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise Unkeepable(f"{name} is not UTF-8 at byte {error.start}") from None


def read(name: str, text: str) -> File:
    """Return a file's nodes; raises `Unkeepable` if it is no single document, or a doubtful one."""
    if _ODD_LINE_END.search(text):
        raise Unkeepable(f"{name} has line ends that are neither LF nor CRLF")
    opened: list[yaml.CollectionStartEvent] = []
    levels: list[list[Node]] = [[]]
    for event in _events(name, text):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(event)
            levels.append([])
        elif isinstance(event, yaml.CollectionEndEvent):
            children = levels.pop()
            levels[-1].append(_collection(opened.pop(), children, event))
        elif isinstance(event, yaml.NodeEvent):
            levels[-1].append(_leaf(event, text))
        if len(levels) > _DEPTH_LIMIT:
            raise Unkeepable(f"{name} is nested more than {_DEPTH_LIMIT} levels deep")
    documents = levels[0]
    if len(documents) > 1:
        raise Unkeepable(f"{name} has several documents")
    root = documents[0] if documents else Node("mapping")
    _refuse_odd_anchors(name, root)
    return File(name, text, root)


def _events(name: str, text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Unkeepable(f"{name} is no valid YAML{line}") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        raise Unkeepable(f"{name} is no valid YAML") from None


def _collection(start: yaml.CollectionStartEvent, children: list[Node], end: yaml.Event) -> Node:
    return Node(
        "mapping" if isinstance(start, yaml.MappingStartEvent) else "list",
        (start.tag, start.implicit),
        start.anchor,
        children=tuple(children),
        start=_span(start)[0],
        # PyYAML ends a block where the next token starts, after blank lines and comments.
        end=_span(end)[1] if start.flow_style or not children else children[-1].end,
        flow=bool(start.flow_style),
    )


def _leaf(event: yaml.NodeEvent, text: str) -> Node:
    start, end = _span(event)
    if not isinstance(event, yaml.ScalarEvent):
        return Node("alias", anchor=event.anchor, start=start, end=end)
    if event.style in ("|", ">"):
        # Its last line end is the file's, and so are blank lines unless the value keeps them ('+').
        source = text[start:end]
        keeps = event.value.endswith("\n\n")
        last = source.removesuffix("\n").removesuffix("\r") if keeps else source.rstrip("\r\n")
        end = start + len(last)
    tag = (event.tag, *event.implicit)
    return Node("scalar", tag, event.anchor, event.value, start=start, end=end)


def _span(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark
    assert event.end_mark
    return event.start_mark.index, event.end_mark.index


def _refuse_odd_anchors(name: str, root: Node) -> None:
    anchors = set()
    for node in root.walk():
        if node.kind == "alias" and node.anchor not in anchors:
            raise Unkeepable(f"{name} has an alias without an anchor before it")
        if node.kind != "alias" and node.anchor in anchors:
            raise Unkeepable(f"{name} has an anchor more than once")
        if node.anchor:
            anchors.add(node.anchor)
