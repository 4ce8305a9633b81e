"""The kill sweep: a sample of its moments; `python3 dev.py sweep` strikes at all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.sweep.cases import CASES, Case
from tests.sweep.nursery import Nursery
from tests.sweep.sweep import Strike, sample, sweep
from tests.sweep.tools import TOOL_CASES


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


def by_name(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.slow
def test_a_promotion_killed_at_any_of_some_moments_is_ended_by_the_next(tmp_path):
    def choose(strikes: Sequence[Strike]) -> Sequence[Strike]:
        found = [strike for strike in strikes if not strike.is_survived]
        return [*sample(found, 4), found[-1]]

    with Nursery(preload="") as nursery:
        case = by_name("promote, first")
        tally = sweep(case, tmp_path / "world", nursery, measured=False, choose=choose)
    assert tally.tried.total() == 5
    assert tally.violations == []
    assert not tally.missed.total()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_promise_is_broken_by_a_sample_of_all_kills(case, nursery, tmp_path):
    def choose(strikes: Sequence[Strike]) -> Sequence[Strike]:
        return sample(strikes, 5 if case.by_dagster else 20)

    tally = sweep(case, tmp_path / "world", nursery, choose=choose)
    assert tally.tried.total() >= 5
    assert tally.violations == []
    assert not tally.missed.total()


@pytest.mark.slow
@pytest.mark.parametrize("case", TOOL_CASES, ids=lambda case: case.name)
def test_no_promise_is_broken_when_meltano_or_tb_is_killed_with_its_caller(case, nursery, tmp_path):
    def choose(strikes: Sequence[Strike]) -> Sequence[Strike]:
        return [strike for strike in strikes if strike.mode == "during"][-1:]

    tally = sweep(case, tmp_path / "world", nursery, choose=choose)
    assert tally.tried.total() == 1
    assert tally.violations == []


@pytest.mark.slow
def test_the_sweep_sees_a_promotion_that_forgets_its_release_tag(tmp_path):
    """The sweep itself can fail: a product that publishes the branch alone breaks a promise."""
    program = (
        "import sys\n"
        "from dataops_dagster.store import Store\n"
        "publish = Store.publish\n"
        "def alone(self, *given, tags, **more): return publish(self, *given, tags={}, **more)\n"
        "Store.publish = alone\n"
        "from tests.sweep import nursery\n"
        "nursery.main(sys.stdin, sys.stdout)\n"
    )
    with Nursery("-c", program) as broken:
        tally = sweep(
            by_name("promote, first"),
            tmp_path / "world",
            broken,
            choose=lambda strikes: [s for s in strikes if s.where == "post-receive"],
        )
    assert any("not published together" in what for _, what in tally.violations)
