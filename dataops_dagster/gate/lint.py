"""What must be well formed in a file that lands; pure. Each rule can be silenced by its id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml

from dataops_dagster.text import one_line

LARGEST = 1024 * 1024
"""Files of more bytes than this are not looked into."""

_LONGEST = 200
_MOST = 100
_ALIASES = 100
_DEPTH = 100
_MERGE = "tag:yaml.org,2002:merge"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is twenty times as fast
_RESOLVER: Any = yaml.resolver.Resolver()
_YAML = re.compile(r"\.ya?ml$")
_MARKER = re.compile(rb"^(<{7}|>{7}|\|{7}) ", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """What a rule found: where, and why it matters. `line` counts from 1."""

    rule: str
    path: str
    line: int
    reason: str


def findings(path: str, data: bytes, ignore: Iterable[str] = ()) -> list[Finding]:
    """Return what the rules say about one file's contents, in the rules' order."""
    if len(data) > LARGEST:
        return []
    silenced = set(ignore)
    return [
        # It may name what stands in the file.
        Finding(rule, path, line, one_line(reason)[:_LONGEST])
        for rule, look in RULES.items()
        if rule not in silenced
        for line, reason in islice(look(path, data), _MOST)
    ]


def unread(path: str, ignore: Iterable[str] = ()) -> list[Finding]:
    """Return what is to be said of a file, and all behind it, that there is too much to look into."""
    reason = "is not looked into, and what comes after it: there is too much"
    return [Finding("yaml", path, 1, reason)] if "yaml" not in ignore else []


Found = Iterator[tuple[int, str]]


def _conflict_marker(_: str, data: bytes) -> Found:
    found = list(_MARKER.finditer(data))
    # Of one kind alone it may be a quotation, or a table; a conflict has a begin and an end.
    if len({match[1] for match in found}) > 1:
        yield data.count(b"\n", 0, found[0].start()) + 1, "a merge conflict was committed"


def _yaml(path: str, data: bytes) -> Found:
    try:
        for _ in _events(path, data):
            pass
    except _Unreadable as problem:
        yield problem.line, problem.reason


def _duplicate_key(path: str, data: bytes) -> Found:
    opened: list[_Opened] = []
    try:
        for event in _events(path, data):
            if isinstance(event, yaml.CollectionEndEvent):
                opened.pop()
            elif isinstance(event, yaml.NodeEvent):
                repeated = opened[-1].repeated(event) if opened else None
                if repeated is not None:
                    yield _line(event), f"the key {repeated} stands here twice"
                if isinstance(event, yaml.CollectionStartEvent):
                    opened.append(_Opened(isinstance(event, yaml.MappingStartEvent)))
    except _Unreadable:
        return  # another rule says so


@dataclass
class _Opened:
    """A list or a mapping that is being read: its keys, and how many nodes it has so far."""

    is_mapping: bool
    keys: set[tuple[str, str]] = field(default_factory=set)
    count: int = 0

    def repeated(self, event: yaml.NodeEvent) -> str | None:
        """Take in the next node; return it if it is a key that was there before."""
        is_key = self.is_mapping and self.count % 2 == 0
        self.count += 1
        if not (is_key and isinstance(event, yaml.ScalarEvent)):
            return None
        # The tag tells 1 from "1".
        tag = event.tag or _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
        key = (tag, event.value)
        was_there = key in self.keys and tag != _MERGE
        self.keys.add(key)
        return event.value if was_there else None


class _Unreadable(Exception):  # noqa: N818  # its name is what the file is
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def _events(path: str, data: bytes) -> Iterator[yaml.Event]:
    """Yield what stands in a YAML file, one by one; raises `_Unreadable`.

    Nothing is built of it, no alias is followed, and no level is a call: there is nothing to blow up.
    """
    if not _YAML.search(path):
        return
    depth = aliases = 0
    text = _text(data)
    loader = _LOADER(text)
    try:
        while loader.check_event():
            event = loader.get_event()
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > _DEPTH:
                raise _Unreadable(_line(event), f"is nested more than {_DEPTH} levels deep")
            if aliases > _ALIASES:
                raise _Unreadable(_line(event), f"has more than {_ALIASES} aliases")
            yield event
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "cannot be read"
        # What is missing at the end is missing after the last line.
        last = text.rstrip("\n").count("\n")
        line = min(mark.line, last) + 1 if mark else 1
        raise _Unreadable(line, f"is no YAML: {reason}") from None
    except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF"
        raise _Unreadable(loader.line + 1, "is no YAML: has a number out of range") from None


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Unreadable(data.count(b"\n", 0, error.start) + 1, "is not UTF-8") from None
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise _Unreadable(text.count("\n", 0, found.start()) + 1, "has a control character")
    return text


def _line(event: yaml.Event) -> int:
    assert event.start_mark
    return event.start_mark.line + 1


RULES: Mapping[str, Callable[[str, bytes], Found]] = {
    "conflict-marker": _conflict_marker,
    "yaml": _yaml,
    "duplicate-key": _duplicate_key,
}
"""The rules by their ids."""
