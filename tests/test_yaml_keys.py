"""A target's own YAML keys survive a promotion, and of all else no byte changes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import reduce
from textwrap import dedent

import pytest
import yaml
from hypothesis import event, given, reject
from hypothesis import strategies as st

from dataops_dagster.yaml_keys import has, keep
from dataops_dagster.yaml_text import SIZE_LIMIT_BYTES, Unkeepable


def kept(merged: str, own: str, *keys: str) -> str:
    paths = [tuple(key.split(".")) for key in keys]
    return keep(merged.encode(), own.encode(), paths).decode()


# --- situations: what was merged, what the target has, and what comes of it -------------------

SITUATIONS = {
    "a value comes with its quotes, and the comment beside it stays": (
        "project_id",
        """
        # Our shop.               │ project_id: '42'  # prod │ # Our shop.
        version: 1                │ version: 2               │ version: 1
        project_id: 11  # staging │                          │ project_id: '42'  # staging
        """,
    ),
    "a key is the same key in quotes, and its spelling stays": (
        "project_id",
        """
        "project_id" : 11         │ 'project_id': "42"       │ "project_id" : "42"
        """,
    ),
    "a key that is no text is known by what is written": (
        "yes",
        """
        yes: 1                    │ yes: 2                   │ yes: 2
        on: 1                     │ on: 2                    │ on: 1
        """,
    ),
    "a value with the same meaning is written as the target writes it": (
        "send_stats",
        """
        send_stats: no            │ send_stats: off          │ send_stats: off
        """,
    ),
    "a null value is kept": (
        "project_id",
        """
        project_id: 11  # staging │ project_id:              │ project_id:  # staging
        version: 1                │                          │ version: 1
        """,
    ),
    "a value takes the place of nothing": (
        "project_id",
        """
        project_id:  # none yet   │ project_id: 42           │ project_id: 42  # none yet
        version: 1                │                          │ version: 1
        """,
    ),
    "a value keeps its anchor and tag": (
        "project_id",
        """
        project_id: 11            │ project_id: &id !!str 42 │ project_id: &id !!str 42
        """,
    ),
    "a flow value is kept like a scalar": (
        "elt",
        """
        elt: [a, b]  # in order   │ elt: {a: [b, "c"]}       │ elt: {a: [b, "c"]}  # in order
        """,
    ),
    "a value of several lines comes with its comment": (
        "about",
        """
        about: short  # mine      │ about: "much             │ about: "much
        version: 1                │   longer"  # ours        │   longer"  # ours
                                  │                          │ version: 1
        """,
    ),
    "a short value takes the place of a long one": (
        "about",
        """
        about: much longer        │ about: short             │ about: short
          than it should be       │                          │ version: 1
        version: 1                │                          │
        """,
    ),
    "a literal keeps its indicators, the blank line below it is the file's": (
        "ui.about",
        """
        ui:                       │ ui:                      │ ui:
            about: short          │   about: |1-  # text     │     about: |1-  # text
                                  │     two                  │       two
            color: red            │                          │
                                  │    lines                 │      lines
                                  │   color: blue            │
                                  │                          │     color: red
        """,
    ),
    "a folded text gives way to a literal": (
        "about",
        """
        about: >-                 │ about: |                 │ about: |
          one                     │     two                  │     two
          two                     │       three              │       three
                                  │ version: 1               │
        # Format:                 │                          │ # Format:
        version: 1                │                          │ version: 1
        """,
    ),
    "a list is kept with its comments and in its style": (
        "environments",
        """
        environments:             │ environments:  # three   │ environments:  # three
          # The proof:            │ # Here:                  │ # Here:
          - name: staging         │ - name: prod             │ - name: prod
          # - name: old           │                          │
                                  │ - name: us               │ - name: us
        # What we run.            │ # Not an environment:    │
        plugins: []               │ version: 1               │ # What we run.
                                  │                          │ plugins: []
        """,
    ),
    "a mapping is indented to fit": (
        "ui.database",
        """
        ui:                       │ ui:                      │ ui:
          database: sqlite        │     database:            │   database:
          color: red              │         # Where:         │       # Where:
                                  │         url: "pg://      │       url: "pg://
                                  │          db"             │        db"
                                  │                          │
                                  │         # More to come:  │       # More to come:
                                  │                          │
                                  │           # much more.   │         # much more.
                                  │     color: blue          │   color: red
        """,
    ),
    "one environment of several is kept, and only that": (
        "environments.prod",
        """
        environments:             │ environments:            │ environments:
          staging: {threads: 2}   │   prod:                  │   staging: {threads: 2}
          prod: {threads: 2}      │     threads: 8           │   prod:
        version: 2                │   staging: {threads: 1}  │     threads: 8
                                  │ version: 1               │ version: 2
        """,
    ),
    "a value in a flow mapping is kept": (
        "ui.color",
        """
        ui: {size: 1, color: red} │ ui:                      │ ui: {size: 1, color: [b, g]}
                                  │   color: [b, g]  # two   │
        """,
    ),
    "a value of several lines in a flow mapping gives way": (
        "ui.color",
        """
        ui: {size: 1, color: [a,  │ ui:                      │ ui: {size: 1, color: red}
          b]}                     │   color: red  # one      │
        """,
    ),
    "a line that cannot move to the left far enough goes to the edge": (
        "ui.color",
        """
        ui:                       │ ui:                      │ ui:
         color: red               │    color: "light         │  color: "light
                                  │  blue"                   │ blue"
        """,
    ),
    "a value out of a flow mapping is kept": (
        "ui.color",
        """
        ui:                       │ ui: {"color":"blue"}     │ ui:
          color: red              │                          │   color: "blue"
        """,
    ),
    "a key that the target lacks goes, the comment above it stays": (
        "project_id",
        """
        version: 1                │ version: 1               │ version: 1
        # Who we are:             │                          │ # Who we are:
        project_id: |             │                          │
          11                      │                          │ plugins: []
                                  │                          │
        plugins: []               │                          │
        """,
    ),
    "the only key of a file can go": (
        "project_id",
        """
        # Who we are:             │ # Nobody.                │ # Who we are:
        project_id: 11            │                          │
        """,
    ),
    "a mapping whose last key goes is empty, not null": (
        "ui.color",
        """
        ui:  # nice               │ version: 1               │ ui: {}  # nice
          # What we like:         │                          │   # What we like:
          color: red              │                          │ version: 1
        version: 1                │                          │
        """,
    ),
    "a missing key follows the key that it follows in the target": (
        "project_id",
        """
        version: 1  # of Meltano  │ version: 1               │ version: 1  # of Meltano
                                  │ gone: yes                │ project_id: 42  # prod
        # What we run.            │ project_id: 42  # prod   │
        plugins: []               │ plugins: []              │ # What we run.
                                  │                          │ plugins: []
        """,
    ),
    "a missing key follows the nearest of the keys before it": (
        "project_id",
        """
        name: shop                │ version: 1               │ name: shop
        version: 1                │ name: shop               │ project_id: 42
                                  │ project_id: 42           │ version: 1
        """,
    ),
    "a missing key follows all of a list": (
        "project_id",
        """
        plugins:                  │ plugins: []              │ plugins:
        - tap-csv                 │ project_id:              │ - tap-csv
        - tap-db  # big           │   - 42                   │ - tap-db  # big
        # Format:                 │   # - 43                 │ project_id:
        version: 1                │                          │   - 42
                                  │                          │   # - 43
                                  │                          │ # Format:
                                  │                          │ version: 1
        """,
    ),
    "a missing key that is the target's first comes first": (
        "project_id",
        """
        # Our shop.               │ project_id: 42           │ # Our shop.
                                  │ version: 1               │
        version: 1                │                          │ project_id: 42
                                  │                          │ version: 1
        """,
    ),
    "a missing key with no neighbour comes last": (
        "project_id",
        """
        version: 1                │ name: shop               │ version: 1
        about: |                  │ project_id: 42           │ about: |
          text                    │                          │   text
                                  │                          │ project_id: 42
        # The end.                │                          │
                                  │                          │ # The end.
        """,
    ),
    "missing mappings around a missing key are made, and nothing more": (
        "environments.prod.threads",
        """
        version: 1                │ version: 1               │ version: 1
        plugins: []               │ environments:            │ environments:
                                  │    # The real one:       │    prod:
                                  │    prod:  # really       │        threads: [1,
                                  │        url: pg://        │          2]
                                  │        threads: [1,      │ plugins: []
                                  │          2]              │
        """,
    ),
    "an empty mapping is filled": (
        "ui.colors",
        """
        ui: { }  # nice           │ ui:                      │ ui:  # nice
        version: 1                │     size: 1              │     colors:
                                  │     colors:              │     - red
                                  │     - red                │ version: 1
        """,
    ),
    "a mapping of which only comments are left is filled": (
        "ui.color",
        """
        ui:                       │ ui: {color: red}         │ ui:
          # To do.                │                          │   # To do.
        version: 1                │                          │   color: red
                                  │                          │ version: 1
        """,
    ),
    "a file of comments is filled": (
        "ui.color",
        """
        # Our shop.               │ ui: {color: red}         │ # Our shop.
                                  │                          │ ui:
                                  │                          │   color: red
        """,
    ),
    "an alias within the value is kept": (
        "ui",
        """
        ui: {}                    │ ui: [&a [1], *a, *a]     │ ui: [&a [1], *a, *a]
        """,
    ),
    "an anchor in the old value that only the old value uses can go": (
        "ui",
        """
        ui: [&a [1], *a, *a]      │ ui: &a {}                │ ui: &a {}
        b: &b 1                   │                          │ b: &b 1
        """,
    ),
    "merge keys elsewhere, and beside the key, do no harm": (
        "ui.color",
        """
        base: &base {color: red}  │ base: &b {}              │ base: &base {color: red}
        ui:                       │ ui:                      │ ui:
          <<: *base               │   color: blue            │   <<: *base
          color: green            │   <<: *b                 │   color: blue
        """,
    ),
    "a document's markers stay": (
        "project_id",
        """
        %YAML 1.1                 │ ---                      │ %YAML 1.1
        --- # Our shop.           │ version: 1               │ --- # Our shop.
        version: 1                │ project_id: 42           │ version: 1
        ...                       │ ...                      │ project_id: 42
                                  │                          │ ...
        """,
    ),
}


def columns(table: str) -> list[str]:
    """Return the texts that stand side by side."""
    rows = [row.split("│") for row in dedent(table).strip("\n").splitlines()]
    first, *others = (list(column) for column in zip(*rows, strict=True))
    texts = [first, *([cell[1:] for cell in column] for column in others)]
    return ["\n".join(map(str.rstrip, text)).rstrip("\n") + "\n" for text in texts]


@pytest.mark.parametrize(("key", "table"), SITUATIONS.values(), ids=SITUATIONS)
def test_situation(key, table):
    merged, own, after = columns(table)
    assert kept(merged, own, key) == after
    assert kept(after, own, key) == after


@pytest.mark.parametrize(("key", "table"), SITUATIONS.values(), ids=SITUATIONS)
def test_a_file_keeps_its_line_ends_whichever_the_target_has(key, table):
    merged, own, after = columns(table)
    windows = [text.replace("\n", "\r\n") for text in (merged, own, after)]
    assert kept(windows[0], own, key) == windows[2]
    assert kept(merged, windows[1], key) == after
    assert kept(*windows[:2], key) == windows[2]


@pytest.mark.parametrize(
    ("merged", "own", "after"),
    [
        ("version: 1\nid: 11", "id: 42\n", "version: 1\nid: 42"),
        ("id: 11", "id: [\n  42]\n", "id: [\n  42]"),
        ("version: 1", "version: 1\nid:\n- 42\n", "version: 1\nid:\n- 42"),
        ("# none", "id: 42\n", "# none\nid: 42"),
        ("id: 11\nversion: 1", "id: 42", "id: 42\nversion: 1"),
        ("version: 1\n", "version: 1\nid: 42", "version: 1\nid: 42\n"),
        ("", "id: 42", "id: 42\n"),
        ("id: 11", "", ""),
    ],
)
def test_a_missing_line_end_at_the_end_of_the_file_stays_missing(merged, own, after):
    assert kept(merged, own, "id") == after


def test_a_byte_order_mark_stays_and_none_is_made():
    assert kept("\ufeffid: 11\n", "id: 42\n", "id") == "\ufeffid: 42\n"
    assert kept("id: 11\n", "\ufeffid: 42\n", "id") == "id: 42\n"
    assert kept("\ufeff", "id: 42\n", "id") == "\ufeffid: 42\n"


def test_blank_lines_that_a_literal_keeps_are_its_own():
    merged, own = "a: |+\n  one\n\n\nb: 1\n", "a: |+\n  two\n\n# end\n"
    after = "a: |+\n  two\n\nb: 1\n"
    assert kept(merged, own, "a") == after
    assert kept(merged.replace("\n", "\r\n"), own, "a") == after.replace("\n", "\r\n")
    assert kept("b: 1\n", own, "a") == "a: |+\n  two\n\nb: 1\n"
    assert kept(merged, "a: 1\nc: 1", "c") == "a: |+\n  one\n\n\nc: 1\nb: 1\n"


def test_a_file_has_a_key_whatever_its_value_is():
    data = b"id:\nui: {color: red}\n"
    assert has(data, ("id",))
    assert has(data, ("ui", "color"))
    assert not has(data, ("ui", "size"))
    assert not has(data, ("id", "deeper"))
    assert not has(b"", ("id",))
    with pytest.raises(Unkeepable, match="color in the file is no mapping"):
        has(data, ("ui", "color", "deeper"))


def test_several_keys_are_kept_also_one_within_another():
    merged = "a: {x: 1}\nb:\n  c: 1\n  d: 1\ne: 1\n"
    own = "b:\n  c: 2\nf: 2\na: {x: 2}\n"
    for keys in (("a", "b", "b.c", "b.d", "e", "f"), ("f", "e", "b.d", "b.c", "b", "a", "a.x")):
        assert kept(merged, own, *keys) == "a: {x: 2}\nb:\n  c: 2\nf: 2\n"


def test_nothing_to_keep_returns_the_merged_file_itself():
    merged = b"version: 2\nproject_id: 42  # mine\nlist:\r\n - a\n"
    own = b"version: 1\nproject_id:   42\nlist:\n - a"
    assert keep(merged, own, [("project_id",), ("list",), ("gone", "key")]) is merged
    assert keep(merged, own, []) is merged


def test_characters_beyond_ascii_do_not_shift_the_place():
    merged, own = "é: 😀  # ü\nid: '😀'\nz: 1\n", "id: ü\n"
    assert kept(merged, own, "id") == "é: 😀  # ü\nid: ü\nz: 1\n"


# --- what cannot be kept safely ---------------------------------------------------------------

FINE = "id: hunter2\n"
UNKEEPABLE = {
    "a merged file that is no YAML": ("id", ": [", FINE, "merged file is no valid YAML at line 1"),
    "a target's file that is no YAML": (
        "id",
        FINE,
        "a: 1\n- hunter2",
        "target's file is no valid YAML",
    ),
    "a character that YAML does not know": (
        "id",
        FINE,
        "id: \x07",
        "target's file is no valid YAML",
    ),
    "an escape that is no character": ("id", FINE, 'id: "\\UFFFFFFFF"', "no valid YAML"),
    "an old Mac's line ends": ("id", "id: 11\rversion: 1", FINE, "neither LF nor CRLF"),
    "a line end that only YAML 1.1 knows": (
        "id",
        "id: hunter2\u2028a: 1",
        FINE,
        "neither LF nor CRLF",
    ),
    "a list at the top": (
        "id",
        "- hunter2\n",
        FINE,
        "the top level in the merged file is no mapping",
    ),
    "a scalar at the top": (
        "id",
        FINE,
        "hunter2\n",
        "the top level in the target's file is no mapping",
    ),
    "several documents": ("id", "id: 1\n---\nid: hunter2\n", FINE, "several documents"),
    "a key that is there twice": (
        "id",
        "id: 1\n'id': hunter2\n",
        FINE,
        "the key id more than once",
    ),
    "a list on the path": (
        "a.id",
        "a: [{id: 1}]\n",
        "a:\n  id: hunter2\n",
        "a in the merged file is no",
    ),
    "a scalar on the path": (
        "a.id",
        "a:\n  id: 1\n",
        "a: hunter2\n",
        "a in the target's file is no mapp",
    ),
    "an alias on the path": (
        "a.id",
        "b: &b {id: 1}\na: *b\n",
        "a:\n  id: hunter2\n",
        "is no mapping (alias)",
    ),
    "an alias for a key": ("id", "&k b: 1\n*k : hunter2\n", FINE, "alias for a key"),
    "a merge key that may bring the key": ("id", FINE, "<<: {id: hunter2}\n", "merge key"),
    "a merge key that would bring it back": (
        "id",
        "<<: {id: 1}\nid: 2\n",
        "a: hunter2\n",
        "merge key",
    ),
    "an anchor used elsewhere": ("id", "id: &x hunter2\na: *x\n", "id: &x 1\n", "used elsewhere"),
    "an anchor on a key that goes": ("id", "&x id: 1\na: *x\n", "", "used elsewhere"),
    "an alias of something outside": (
        "id",
        "id: 1\n",
        "a: &x hunter2\nid: [*x]\n",
        "an alias of someth",
    ),
    "an alias of a mapping around": (
        "a.id",
        "id: 1\n",
        "id: 1\na: &x\n  id: *x\n",
        "an alias of something",
    ),
    "an alias of nothing": ("id", "id: 1\n", "id: *hunter2\n", "alias without an anchor"),
    "an anchor that is there already": (
        "id",
        "a: &x 1\n",
        "id: &x hunter2\n",
        "anchor more than once",
    ),
    "a key with a question mark": ("id", "? id\n: 1\n", FINE, "does not begin its line"),
    "a flow key without a colon": ("id", "{a: 1, id}\n", FINE, "no colon"),
    "a key that a flow mapping lacks": (
        "id",
        "{a: 1}\n",
        FINE,
        "cannot be inserted into a flow mapping",
    ),
    "a key that a flow mapping has": (
        "id",
        "{id: hunter2}\n",
        "",
        "cannot be removed from a flow mapp",
    ),
    "a block value for a flow mapping": (
        "id",
        "{id: 1}\n",
        "id: |\n  hunter2\n",
        "with id kept, is no",
    ),
    "a plain value for a flow mapping": (
        "id",
        "{id: 1}\n",
        "id: hunter2, 3: 4\n",
        "is no valid YAML",
    ),
    "a plain value that a flow mapping splits": (
        "id",
        "{id: 1}\n",
        "id: hunter2, 3\n",
        "would not read back",
    ),
    "a tag on a mapping to make": ("a.id", "b: 1\n", "a: !x\n  id: hunter2\n", "a tag or anchor"),
    "a literal whose last line end would change": (
        "id",
        "id: 1",
        "id: |\n  hunter2\n",
        "would not read back",
    ),
    "a text before the key whose last line end would change": (
        "id",
        "a: |\n  hunter2",
        "a: 1\nid: 1\n",
        "would not read back",
    ),
    "a merge key as the key": ("<<", "<<: {a: 1}\n", "<<: {a: hunter2}\n", "merge key"),
    "an empty mapping in a flow mapping": ("a.id", "{a: {}}\n", "a:\n  id: 1\n", "flow mapping"),
    "blank lines that would become text": (
        "id",
        "id: 1\n\na: 1\n",
        "id: |+\n  hunter2\n",
        "would not read back",
    ),
    "a tag that is named otherwise": (
        "id",
        "%TAG !e! tag:a,1:\n---\nid: !e!x 1\n",
        "%TAG !e! tag:b,1:\n---\nid: !e!x 1\n",
        "would not read back",
    ),
}


@pytest.mark.parametrize(("key", "merged", "own", "reason"), UNKEEPABLE.values(), ids=UNKEEPABLE)
def test_a_doubt_is_refused_with_a_reason_that_tells_no_value(key, merged, own, reason):
    with pytest.raises(Unkeepable) as refused:
        kept(merged, own, key)
    assert reason in refused.value.reason
    assert str(refused.value) == refused.value.reason
    assert "hunter2" not in refused.value.reason


@pytest.mark.parametrize("data", [b"id: \xff", "id: 1".encode("utf-16"), b"id: \xed\xa0\x80"])
def test_what_is_no_utf_8_is_refused(data):
    for files in ((data, b"id: 1\n"), (b"id: 1\n", data)):
        with pytest.raises(Unkeepable, match="is not UTF-8 at byte"):
            keep(*files, [("id",)])


def test_a_huge_file_is_refused():
    large = b"id: 11\n" + b"#" * (SIZE_LIMIT_BYTES - 7)
    assert keep(large, b"id: 42\n", [("id",)]) == large.replace(b"11", b"42", 1)
    for files in ((large + b"#", b"id: 42\n"), (b"id: 42\n", large + b"#")):
        with pytest.raises(Unkeepable, match="is larger than 256000 bytes"):
            keep(*files, [("id",)])


@pytest.mark.parametrize("nest", ["[", "{a: ", "- ", "? "])
def test_a_file_that_is_nested_deeply_is_refused_at_once(nest):
    started = time.monotonic()
    with pytest.raises(Unkeepable, match="nested more than 100 levels"):
        kept(nest * 10_000, FINE, "id")
    assert time.monotonic() - started < 5


def test_aliases_that_explode_are_only_copied():
    bomb = "a0: &a0 [lol]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 99)
    )
    assert kept(bomb + "id: 1\n", "id: 42\n", "id") == bomb + "id: 42\n"
    inner = "id:\n" + "".join(f"  {line}\n" for line in bomb.splitlines())
    assert kept("id: 1\n", inner, "id") == inner


# --- any two files ----------------------------------------------------------------------------

SCALARS = [
    *(
        "prod",
        "1",
        "yes",
        "a: b",
        "# no",
        "",
        "it's",
        'say "x"',
        "é😀",
        "- x",
        "{x}",
        "<<",
        "2026-11-22",
    ),
    *(
        "two\nlines\n",
        "\n lead\n\n\ntrail\n\n",
        "tab\tstop ",
        "a rather long text " * 3,
        None,
        True,
        7,
        1.5,
    ),
]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=4,
)
COMMENTS = ["", "", "  # a: note"]


class Author:
    """Writes a file as people do, and remembers where each entry stands."""

    def __init__(self, draw):
        self.draw = lambda choices: draw(st.sampled_from(choices))
        self.value = lambda: draw(VALUES)
        self.text = self.draw(["", "", "# Header.\n", "---\n", "# Header.\n\n"])
        self.spans: dict[tuple[str, ...], tuple[int, int, int]] = {}
        """Where an entry's first line starts, its colon and its last line end."""
        self.mapping((), 0, draw(st.permutations("abcdmn"))[: draw(st.integers(0, 6))])
        self.text += self.draw(["", "", "\n# The end.\n", "\n\n"])
        if self.draw([False, False, True]):
            self.text = self.text.removesuffix("\n")

    def __repr__(self):
        return repr(self.text)

    def mapping(self, path, column, names) -> None:
        for name in names:
            self.text += self.draw(["", "", "\n", f"{' ' * column}# About {name}.\n"])
            start = len(self.text)
            self.text += " " * column + self.draw([name, name, f"'{name}'", f'"{name}" ']) + ":"
            colon = len(self.text)
            if name in "mn" and len(path) < 2:
                self.parent((*path, name), column)
            else:
                self.text += self.leaf(column) + "\n"
            self.spans[(*path, name)] = start, colon, len(self.text) - 1

    def parent(self, path, column) -> None:
        names = self.draw(["", "a", "ba", "cab", "mab", "am", "ban"])
        if not names:
            self.text += self.draw([" {}", "", " { }"]) + self.draw(COMMENTS) + "\n"
        elif self.draw(range(20)) == 0:
            self.text += " {" + ", ".join(f"{name}: 1" for name in names if name in "abc") + "}\n"
        else:
            inner = column + self.draw([2, 2, 4, 1])
            self.text += self.draw(COMMENTS) + "\n"
            self.mapping(path, inner, names)
            self.text += self.draw(
                ["", "", "", f"{' ' * inner}# No more.\n", f"\n{' ' * inner}#\n"]
            )

    def leaf(self, column) -> str:
        value = self.value()
        style, width, step = (
            self.draw([*[None] * 3, *"'\"|>"]),
            self.draw([20, 80]),
            self.draw([2, 4]),
        )
        if isinstance(value, (list, dict)) and self.draw([False, True]):
            text = " " + yaml.dump(value, default_flow_style=True, width=width)
        elif value is None and self.draw([False, True]):
            text = "\n"
        else:
            dumped = yaml.dump({"k": value}, default_style=style, width=width, indent=step)
            text = re.sub(r"^(k|\"k\"|'k'):", "", dumped)
        text = re.sub(
            r"\n(?=.)", "\n" + " " * column, text.removesuffix("...\n").removesuffix("\n")
        )
        return text if "\n" in text else text + self.draw(COMMENTS)


@dataclass
class Promotion:
    merged: Author
    own: Author
    paths: list[tuple[str, ...]]
    crlf: tuple[bool, bool]

    @property
    def files(self) -> list[str]:
        texts = zip((self.merged.text, self.own.text), self.crlf, strict=True)
        return [text.replace("\n", "\r\n") if crlf else text for text, crlf in texts]

    def kept(self) -> str:
        """Return the result; note in Hypothesis' statistics what became of it."""
        merged, own = self.files
        keys = [".".join(path) for path in self.paths]
        try:
            after = kept(merged, own, *keys)
        except Unkeepable as unkeepable:
            event(re.sub(r"\d+|\b(\w\.)*\w\b(?= |$)", "_", unkeepable.reason))
            reject()
        event("changed" if after != merged else "unchanged")
        assert kept(after, own, *keys) == after
        assert data_of(after) == reduce(self.expected, self.paths, data_of(self.merged.text))
        return after

    def expected(self, merged, path):
        """Return merged data with a key as it is in the target's data."""
        *parents, last = path
        result, own = merged, data_of(self.own.text)
        for name in parents:
            own = own.get(name) or {}
        for name in parents:
            if merged.get(name) is None:
                if last not in own:
                    return result
                merged[name] = {}
            merged = merged[name]
        if last in own:
            merged[last] = own[last]
        else:
            merged.pop(last, None)
        return result


@st.composite
def promotions(draw, *, most=1):
    merged, own = Author(draw), Author(draw)
    paths = st.sampled_from(sorted({*merged.spans, *own.spans, ("a",), ("m", "n", "b")}))
    keys = draw(st.lists(paths, min_size=1, max_size=most))
    return Promotion(merged, own, keys, draw(st.tuples(st.booleans(), st.booleans())))


def data_of(text):
    return yaml.safe_load(text) or {}


@given(promotion=promotions())
def test_a_key_is_the_targets_and_everything_else_is_as_merged(promotion):
    after, crlf = promotion.kept(), "\r\n" in promotion.files[0]
    plain = after.replace("\r\n", "\n")
    assert after == (plain.replace("\n", "\r\n") if crlf else plain)
    assert_no_other_byte_changed(promotion.merged, plain, *promotion.paths)


@given(promotion=promotions(most=6))
def test_many_keys_are_the_targets(promotion):
    promotion.kept()


def assert_no_other_byte_changed(merged: Author, after: str, path: tuple[str, ...]) -> None:
    text, spans = merged.text, merged.spans
    above = max(spans.get(path[:depth], (0, 0))[1] for depth in range(len(path)))
    if path in spans:
        start, _, end = spans[path]
        if path[:-1] and sum(other[:-1] == path[:-1] for other in spans) == 1:
            start = above  # its mapping may have become {}
        assert after.startswith(text[:start])
        assert after.endswith(text[end:].lstrip("\n"))
    else:
        filled = text[:above] + re.sub(r"^ \{ ?\}", "", text[above:])
        assert any(
            shared(t, after) + shared(t[::-1], after[::-1]) >= len(t) for t in (text, filled)
        )


def shared(one: str, other: str) -> int:
    """Return how many characters are the same at the start of both."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
