"""What lands is well formed, or the line that is not is told; no file can stop the gate."""

from __future__ import annotations

import time
import tracemalloc

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataops_dagster.gate import lint


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request, monkeypatch):
    """Read by each of PyYAML's two parsers; not every machine has the fast one."""
    if request.param == "python":
        monkeypatch.setattr(lint, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML is without libyaml")


def found(data: bytes | str, path="models/shop.yml", ignore=()) -> list[tuple[str, int]]:
    content = data.encode() if isinstance(data, str) else data
    return [(f.rule, f.line) for f in lint.findings(path, content, ignore)]


def reasons(data: bytes | str, path="models/shop.yml") -> list[str]:
    content = data.encode() if isinstance(data, str) else data
    return [f.reason for f in lint.findings(path, content)]


# --- conflict markers -------------------------------------------------------------------------

CONFLICT = "a\n<<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> feature\nb\n"
DIFF3 = "<<<<<<< ours\nours\n||||||| 1234567\nbase\n=======\ntheirs\n>>>>>>> theirs\n"


@pytest.mark.parametrize("path", ["a.sql", "README.md", "Makefile", "a.py"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (CONFLICT, 2),
        (CONFLICT.replace("\n", "\r\n"), 2),
        (DIFF3, 1),
        (DIFF3.removeprefix("<<<<<<< ours\n"), 2),
        ("x\n" * 500 + CONFLICT + CONFLICT, 502),
        (CONFLICT.removesuffix("\nb\n"), 2),
    ],
)
def test_a_merge_conflict_is_found_once_at_its_first_line(path, text, line):
    assert found(text, path) == [("conflict-marker", line)]


@pytest.mark.parametrize(
    "text",
    [
        "Heading\n=======\n\ntext\n",
        "<<<<<<< HEAD\nalone\n",
        ">>>>>>> quoted seven times\n>>>>>>> and again\n",
        "||||||| of a table\n||||||| that is empty\n",
        "    <<<<<<< indented\n    >>>>>>> indented\n",
        "<<<<<<<< eight\n>>>>>>>> eight\n",
        "<<<<<<<\n>>>>>>>\n",
        "print('<<<<<<< HEAD')  # >>>>>>> b\n",
        "",
    ],
)
def test_what_only_looks_like_a_conflict_is_none(text):
    assert found(text, "README.md") == []


def test_bytes_that_are_no_text_have_conflicts_too():
    assert found(b"\xff\n" + CONFLICT.encode(), "a.bin") == [("conflict-marker", 3)]


# --- YAML -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1\n", 2),
        ("a: 1\nb: [1", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\r\n\tb: 2\r\n", 2),
        ("a: 1\n---\nb: 'x\n\n", 3),
        ("a: b: c\n", 1),
        ("a: 1\nb: @x\n", 2),
        ('a: 1\nb: "\\q"\n', 2),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2),
        (f"%YAML 1.{'9' * 5000}\n---\na: 1\n", 1),
        ("a: 1\nb: \x00\n", 2),
        ("é: 1\nb: 2\nc: \x1b[2J\n", 3),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text, line):
    assert found(text) == [("yaml", line)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a comment\n",
        "a: 1\n---\nb: 2\n...\n---\n- 3\n",
        "\ufeffa: 1\n",
        "a: !include other.yml\nb: !!python/object/apply:os.system [x]\n",
        "&a [*a]\n",
        "big: " + "x" * 100_000,
    ],
)
def test_what_is_yaml_passes_whatever_it_means(text):
    assert found(text) == []


def test_what_is_not_utf_8_is_told_with_its_line():
    assert found(b"a: 1\nb: caf\xe9\n") == [("yaml", 2)]
    assert reasons("a: 1\n".encode("utf-16")) == ["is not UTF-8"]


@pytest.mark.parametrize("bracket", ["[", "{a: ", "- ", "? "])
def test_what_is_nested_deeper_than_anybody_reads_is_told_quickly(bracket):
    began = time.monotonic()
    assert found(bracket * 20_000) == [("yaml", 1)]
    assert time.monotonic() - began < 20  # PyYAML alone takes minutes


def test_a_hundred_levels_are_fine():
    assert found("[" * 100 + "]" * 100) == []
    assert found("\n" + "[" * 101 + "]" * 101) == [("yaml", 2)]


def test_an_alias_bomb_costs_nothing_for_no_alias_is_followed():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)]
    tracemalloc.start()
    try:
        assert found("\n".join(lines)) == []
        assert found("\n".join([*lines, "b: *a0"])) == [("yaml", 12)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("path", ["a.yml", "a.yaml", "deep/er/.hidden.yml"])
def test_files_are_yaml_by_their_name(path):
    assert found("[", path) == [("yaml", 1)]


@pytest.mark.parametrize("path", ["a.yml.j2", "yaml", "a.json", "a.yml/b", "yml"])
def test_files_of_other_names_are_no_yaml(path):
    assert found("[", path) == []


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\nb: 2\na: 3\n", [3]),
        ("a: 1\na: 2\na: 3\n", [2, 3]),
        ("a: 1\n'a': 2\n", [2]),
        ("x:\n  - b: 1\n    c:\n      d: 1\n      d: 2\n    b: 2\n", [5, 6]),
        ("{a: 1, b: {c: 1, c: 2}}\n", [1]),
        ("a: 1\n---\nb: 1\nb: 2\n", [4]),
        ("? {a: 1, a: 2}\n: 1\n", [1]),
        ('"<<": 1\n"<<": 2\n', [2]),
        ("1: a\n1: b\n", [2]),
        ("a: 1\r\na: 2\r\n", [2]),
        ("a: 1\na: 2\nb: [\n", [2]),
    ],
)
def test_a_key_that_stands_twice_in_one_mapping_is_told_with_its_line(text, lines):
    assert [line for rule, line in found(text) if rule == "duplicate-key"] == lines


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: {a: 1}\nc: [{a: 1}, {a: 2}]\n",
        "a: 1\n---\na: 1\n",
        "base: &b {a: 1}\nx: {<<: *b, a: 2}\n",
        "b: &b {a: 1}\nc: &c {a: 2}\nx:\n  <<: *b\n  <<: *c\n",
        '1: a\n"1": b\n',
        "- a\n- a\n",
        "a: a\nb: a\n",
    ],
)
def test_a_key_may_stand_once_in_each_mapping_and_override_what_is_merged_in(text):
    assert found(text) == []


MAPPINGS = st.recursive(
    st.lists(st.tuples(st.sampled_from("abc"), st.just("1")), min_size=1, max_size=4),
    lambda inner: st.lists(st.tuples(st.sampled_from("abc"), inner), min_size=1, max_size=4),
    max_leaves=12,
)


def written(mapping, indent=0) -> list[tuple[str, bool]]:
    """Return lines, and whether each has a key that stood in its mapping before."""
    lines, before = [], set()
    for key, value in mapping:
        text = f"{' ' * indent}{key}:"
        below = written(value, indent + 1) if isinstance(value, list) else []
        lines += [(text if below else f"{text} {value}", key in before), *below]
        before.add(key)
    return lines


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mapping=MAPPINGS)
def test_every_key_that_stands_twice_is_found_in_the_files_order(mapping):
    lines = written(mapping)
    text = "\n".join(line for line, _ in lines)
    twice = [number for number, (_, repeated) in enumerate(lines, start=1) if repeated]
    assert found(text) == [("duplicate-key", line) for line in twice]


# --- all rules --------------------------------------------------------------------------------


def test_a_rule_can_be_ignored_by_its_id():
    text = "a: 1\na: 2\n<<<<<<< HEAD\n>>>>>>> b\n"
    assert found(text) == [("conflict-marker", 3), ("yaml", 4), ("duplicate-key", 2)]
    assert found(text, ignore=["yaml", "conflict-marker"]) == [("duplicate-key", 2)]
    assert found(text, ignore=lint.RULES) == []


def test_a_file_of_more_than_a_megabyte_is_not_looked_into():
    largest = CONFLICT.encode().ljust(lint.LARGEST)
    assert found(largest, "a.sql") == [("conflict-marker", 2)]
    assert found(largest + b" ", "a.sql") == []


def test_a_key_that_would_steer_a_terminal_or_fake_a_line_does_neither():
    key = r'"\e[2J\nlint: passed\u202E"'
    assert reasons(f"{key}: 1\n{key}: 2\n") == [
        "the key [2J lint: passed stands here twice",
    ]


def test_a_key_of_a_megabyte_does_not_fill_the_log():
    (reason,) = reasons(f"? {'x' * 9999}\n: 1\n? {'x' * 9999}\n: 2\n")
    assert len(reason) <= 200


PIECES = st.sampled_from(
    [
        *(
            "a: ",
            "a",
            "b: 1",
            "\n",
            "\n  ",
            "- ",
            "? ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&a ",
            "*a",
            "<<: ",
        ),
        *(
            "'",
            '"',
            "|\n",
            "#",
            "---\n",
            "!!",
            "!<",
            "%",
            "\\U",
            "\t",
            "\r",
            "\0",
            "\x85",
            "\ufeff",
        ),
        *("<<<<<<< a\n", ">>>>>>> a\n", "=======\n", "\\xZZ", "%YAML 9", "%TAG ! x", "é", "😀"),
    ]
)
CONTENTS = (
    st.lists(PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode())
    | st.binary(max_size=60)
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=CONTENTS)
def test_any_bytes_are_looked_into_and_each_finding_names_a_line_of_theirs(data):
    lines = len(data.decode("utf-8", "replace").splitlines()) + 1
    for finding in lint.findings("any.yml", data):
        assert 1 <= finding.line <= lines
        assert finding.reason.isprintable()
