"""However mangled a project is, what it changes and what is wrong in it is told, and on one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_dagster.configuration import tables
from dataops_dagster.meltano import comparing, lint
from dataops_dagster.meltano.changes import changes
from dataops_dagster.meltano.comparing import Side
from tests.conftest import NOW
from tests.meltano_examples import SEED, SHOP, read

PIECES = st.sampled_from(
    [
        *("null", "{}", "[]", "1", "''", "~", "$X", "${a}", "{a: {b: 1}}", "[[a]]", "&a [*a]"),
        *("? [a]\n: 1", "<<: {a: 1}", "!!x y", "\\$X", "name", "env: {A: 1}", "job: [x]", "true"),
        *(
            "plugins",
            "tasks: null",
            "interval: null",
            "2026-13-01",
            ".inf",
            '"\\e[2J\\n"',
            "\n",
            "  ",
        ),
    ]
)
CUTS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), PIECES), min_size=1, max_size=4)
PIPELINE = (
    "schedule: 0 0 6 * * *\nactions: [load]\ntriggered_by: [deploy]\nproperties: {tap-x.a: 1}\n"
)


def mangled(text: str, cuts: list[tuple[int, int, str]]) -> str:
    """Return a text with some words taken out, and others put in."""
    for at, length, piece in cuts:
        words = text.split(" ")
        words[at % len(words) : at % len(words) + length] = [piece]
        text = " ".join(words)
    return text


@pytest.mark.slow
@settings(max_examples=300)
@given(whole=st.sampled_from([SEED, SHOP]), cuts=CUTS, others=CUTS)
def test_a_mangled_project_is_told_line_by_line(whole, cuts, others):
    before, after = read(whole), read(mangled(whole, cuts), load=mangled(PIPELINE, others))
    for environment in ("staging", "prod"):
        found = lint.findings(after, environment, ["dev", "staging", "prod"], variables=())
        told = [finding.reason for finding in found]
        for one, other in ((before, after), (after, before)):
            made = changes(one, other, environment, now=NOW)
            told += [cell for _, _, rows in tables(made) for row in rows for cell in row]
        sides = [Side("a", before, environment), Side("b", after, environment)]
        for _, _, rows in comparing.tables(comparing.compare(*sides)):
            told += [cell for row in rows for cell in row]
        told += [cell for row in comparing.listing(sides[1]) for cell in row]
        assert all(text.isprintable() for text in told)
