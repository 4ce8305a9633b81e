"""Each promise is held by tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TITLE, TEST = r"^### (\d+)\. .+$", r"^- \[(.+)\]\(\.\./(tests/\S+\.py)\)$"
_, *PARTS = re.split(TITLE, (ROOT / "docs" / "promises.md").read_text(), flags=re.MULTILINE)
PROMISES = dict(zip(map(int, PARTS[::2]), PARTS[1::2], strict=True))


def test_the_promises_are_numbered_one_after_the_other():
    assert list(PROMISES) == list(range(1, len(PROMISES) + 1))


@pytest.mark.parametrize("number", PROMISES)
def test_each_test_of_a_promise_is_there_and_is_run(number: int):
    named = re.findall(TEST, PROMISES[number], re.MULTILINE)
    assert named
    for sentence, file in named:
        tests = {
            node.name: {ast.unparse(decorator) for decorator in node.decorator_list}
            for node in ast.parse((ROOT / file).read_text()).body
            if isinstance(node, ast.FunctionDef)
        }
        marks = tests[f"test_{sentence.replace(' ', '_')}"]
        assert not any(re.search(r"mark\.(skip|xfail)\b", mark) for mark in marks), sentence
