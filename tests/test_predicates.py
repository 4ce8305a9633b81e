"""A condition of the user's own answers in its own words, and cannot be mistaken for more."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from dataops_dagster import predicates
from dataops_dagster.errors import ConfigError
from dataops_dagster.model import State, Verdict
from tests.conftest import NOW
from tests.facts import plan, verdict

WHERE = "workspaces.prod.gate.predicate"


@pytest.fixture
def ask(monkeypatch):
    """Return what asks a function that a module of the user's holds."""

    def asked(function) -> Verdict:
        module = ModuleType("shop_policy")
        module.may_land = function
        monkeypatch.setitem(sys.modules, "shop_policy", module)
        return predicates.verdict("shop_policy:may_land", plan(), [], NOW, where=WHERE)

    return asked


def fail(*_):
    raise RuntimeError("no\nconnection")


@pytest.mark.parametrize(
    ("function", "state", "reason"),
    [
        (lambda *_: None, State.PASSED, "shop_policy:may_land agrees"),
        (lambda *_: "not on\nFridays", State.PENDING, "shop_policy:may_land: not on Fridays"),
        (lambda *_: True, State.FAILED, "shop_policy:may_land answers True, not None, text or"),
        (fail, State.FAILED, "shop_policy:may_land: RuntimeError: no connection"),
        (lambda: None, State.FAILED, "shop_policy:may_land: TypeError: "),
    ],
)
def test_only_a_clear_yes_passes(ask, function, state, reason):
    found = ask(function)
    assert found.state is state
    assert found.reason.startswith(reason)


def test_the_function_is_given_the_plan_the_evidence_and_the_moment(ask):
    given = []
    ask(lambda *arguments: given.extend(arguments))
    assert given == [plan(), [], NOW]


def test_a_verdict_of_its_own_is_taken_but_each_part_stays_on_its_line(ask):
    part = verdict(State.PENDING, "a\n  passed lint: nothing was found")
    found = ask(lambda *_: verdict(State.PENDING, "\x1b[2Jwaits", parts=(part,)))
    assert (found.state, found.reason) == (State.PENDING, "[2Jwaits")
    assert found.parts[0].reason == "a passed lint: nothing was found"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module:f", "no_such_module:f cannot be imported: ModuleNotFoundError"),
        ("sys:no_such_function", "sys:no_such_function cannot be imported: AttributeError"),
        ("sys:path", "sys:path is no function"),
    ],
)
def test_what_is_no_function_is_a_mistake_of_the_file(name, problem):
    with pytest.raises(ConfigError) as caught:
        predicates.load(name, WHERE)
    assert problem in str(caught.value)
    assert WHERE in str(caught.value)
