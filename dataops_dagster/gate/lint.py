"""What must be well formed in a file that lands; pure. Each rule can be silenced by its id."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import yaml

LARGEST = 1024 * 1024
"""Files of more bytes than this are not looked into."""

_ALIASES = 100
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
        Finding(rule, path, line, reason)
        for rule, look in RULES.items()
        if rule not in silenced
        for line, reason in look(path, data)
    ]


Found = Iterator[tuple[int, str]]


def _conflict_marker(_: str, data: bytes) -> Found:
    found = [match.start() for match in _MARKER.finditer(data)]
    # One alone may be a heading; a conflict has a begin and an end.
    if len(found) > 1:
        yield data.count(b"\n", 0, found[0]) + 1, "a merge conflict was committed"


def _yaml(path: str, data: bytes) -> Found:
    if not _YAML.search(path):
        return
    try:
        text = data.decode("utf-8")
        events = yaml.parse(text, Loader=yaml.SafeLoader)
        if sum(isinstance(event, yaml.AliasEvent) for event in events) > _ALIASES:
            yield 1, f"has more than {_ALIASES} aliases"
    except UnicodeDecodeError as error:
        yield data.count(b"\n", 0, error.start) + 1, "is not UTF-8"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or "cannot be read"
        yield (mark.line + 1 if mark else 1), f"is no YAML: {reason}"
    except RecursionError:
        yield 1, "is nested too deeply"


def _duplicate_key(path: str, data: bytes) -> Found:
    if not _YAML.search(path):
        return
    try:
        nodes = list(yaml.compose_all(data.decode("utf-8"), Loader=yaml.SafeLoader))
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return  # another rule says so
    ahead, seen = list(nodes), set[int]()
    while ahead:
        node = ahead.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            ahead += node.value
        elif isinstance(node, yaml.MappingNode):
            yield from _repeated(node)
            ahead += [value for _, value in node.value]


def _repeated(node: yaml.MappingNode) -> Found:
    keys = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if (key.tag, key.value) in keys:
                yield key.start_mark.line + 1, f"the key {key.value} stands here twice"
            keys.add((key.tag, key.value))


RULES: Mapping[str, Callable[[str, bytes], Found]] = {
    "conflict-marker": _conflict_marker,
    "yaml": _yaml,
    "duplicate-key": _duplicate_key,
}
"""The rules by their ids."""
