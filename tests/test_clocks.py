"""A clock that is a day wrong, either way and at any moment, lets nothing in and stops nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dataops_dagster
from dataops_dagster import clock, locks, process
from dataops_dagster.gate.evidence import Witness, evidence_verdict
from dataops_dagster.gate.periods import freezes_verdict, windows_verdict
from dataops_dagster.model import Outcome, State
from dataops_dagster.orchestration import deployments, naming
from dataops_dagster.orchestration.asking import PAUSE
from dataops_dagster.orchestration.book import InstanceBook
from dataops_dagster.settings_gate import Gate, Period
from tests.conftest import NOW, PROJECT_FILES, SHOP, Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.facts import evidence
from tests.gates import decide, gated, landed, stage
from tests.telling import wait_for

DAY = timedelta(days=1)
COMMIT = "c" * 40
FAILED, PASSED = Outcome.FAILED, Outcome.PASSED


# --- who reads the clock ------------------------------------------------------------------------

READS = re.compile(r"\btime\.time(_ns)?\(|\.(utc)?now\(timezone|\b(utcnow|today)\(|datetime\.now\(")
MAY_READ = {
    "clock.py",
    "settings_base.py",  # whether a cron schedule ever comes
    "platforms/installations.py",  # what nobody has used for a month
}


def test_the_clock_on_the_wall_is_read_in_one_place():
    root = Path(dataops_dagster.__file__).parent
    paths = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    reading = {
        name
        for name, text in paths.items()
        if READS.search(text) and not name.startswith(("testing/", "demo/"))
    }
    assert reading == MAY_READ


# --- what runs prove ----------------------------------------------------------------------------


def judged(found, now: datetime) -> State:
    """Say what a gate thinks of runs, given in the order in which they were asked for."""
    placed = [e.__class__(**{**vars(e), "place": n}) for n, e in enumerate(found, 1)]
    return evidence_verdict(
        COMMIT, Witness("staging", "staging", {COMMIT: placed}), Gate(), now=now
    ).state


@st.composite
def runs(draw):
    """Draw runs, one after the other, by a clock that is put forth and back between them."""
    outcomes = draw(st.lists(st.sampled_from([PASSED, FAILED, Outcome.ERRORED]), max_size=6))
    wrong = [draw(st.sampled_from([-86_400, 0, 86_400])) for _ in outcomes]
    return [
        evidence(COMMIT, outcome, at=60 * number + by, run=f"run-{number}")
        for number, (outcome, by) in enumerate(zip(outcomes, wrong, strict=True))
    ]


@given(found=runs(), now=st.integers(-100_000, 200_000))
def test_what_failed_last_is_not_proven_whatever_the_clock_said(found, now):
    told = [e.outcome for e in found if e.outcome is not Outcome.ERRORED]
    if judged(found, NOW + timedelta(seconds=now)) is State.PASSED:
        assert told[-1] is PASSED


@given(found=runs())
def test_one_more_success_by_a_clock_that_goes_right_proves_a_commit(found):
    later = NOW + 2 * DAY
    again = evidence(COMMIT, PASSED, at=2 * 86_400, run="again")
    assert judged([*found, again], later) is State.PASSED


def test_a_success_of_tomorrow_does_not_outlive_a_failure_of_today():
    success, failure = evidence(COMMIT, at=86_400), evidence(COMMIT, FAILED, at=60)
    for now in (NOW, NOW + DAY, NOW + 2 * DAY):
        assert judged([success, failure], now) is State.FAILED
    assert judged([failure, success], NOW + DAY) is State.PASSED


# --- what is judged at the moment of the promotion ------------------------------------------------


def jumps(shop: Shop, **more):
    """Ask for a promotion a day ago, now, and in a day, and let none of it land."""
    return [type(shop.consider("prod", now=NOW + n * DAY, **more)).__name__ for n in (-1, 0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "answers"),
    [
        ("soak: 2h", ["Held", "Held", "Ready"]),
        ("max_age: 2h", ["Held", "Ready", "Held"]),
        ("windows: [{from: 2026-11-22, to: 2026-11-23}]", ["Held", "Ready", "Held"]),
        ("freezes: [{from: 2026-11-22, to: 2026-11-23}]", ["Held", "Held", "Ready"]),
        ("approvals: {expires: 12h}", ["Held", "Ready", "Held"]),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_a_condition_is_judged_anew_each_time_and_forgets_a_wrong_clock(
    promoted_shop: Shop, condition, answers
):
    shop = gated(promoted_shop, condition)
    stage(shop, {"new.yml": "a: 1\n"})
    if "approvals" in condition:
        plan = shop.consider("prod").plan
        decide(shop, "approve", plan=plan.digest)
    before = shop.prod.head
    # A day back nothing is proven yet: the run is of tomorrow.
    assert jumps(shop) == answers
    assert jumps(shop) == answers
    assert shop.prod.head == before


def test_a_period_is_judged_by_the_moment_alone():
    period = Period.model_validate({"from": "2026-11-22", "to": "2026-11-23"})
    windows = [windows_verdict([period], NOW + n * DAY).state for n in (-1, 0, 1, 0)]
    freezes = [freezes_verdict([period], NOW + n * DAY).state for n in (-1, 0, 1, 0)]
    assert [state is State.PASSED for state in windows] == [False, True, False, True]
    assert [state is State.PASSED for state in freezes] == [True, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("by", [-DAY, DAY], ids=["back", "ahead"])
def test_two_workers_whose_clocks_are_a_day_apart_make_one_commit_and_one_release(
    promoted_shop: Shop, by
):
    shop = promoted_shop
    stage(shop, {"new.yml": "a: 1\n"})
    first, second = shop.consider("prod"), shop.consider("prod", now=NOW + max(by, timedelta()))
    assert first.plan.digest == second.plan.digest
    landed(shop.promote("prod"))
    before = shop.prod.head, shop.prod.tags()
    assert type(shop.promote("prod", now=NOW + by)).__name__ == "NothingToDo"
    assert (shop.prod.head, shop.prod.tags()) == before


# --- in Dagster -----------------------------------------------------------------------------------


class Wall:
    """The clock on the wall, for us and for Dagster; deadlines do not look at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wrong = timedelta()
        real = time.time

        def now() -> datetime:
            return datetime.fromtimestamp(real(), timezone.utc) + self.wrong

        monkeypatch.setattr(time, "time", lambda: real() + self.wrong.total_seconds())
        monkeypatch.setattr(clock, "now", now)
        monkeypatch.setattr("dagster._time._mockable_get_current_datetime", now)


@pytest.fixture
def wall(monkeypatch) -> Wall:
    return Wall(monkeypatch)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[object]:
    """Return what makes a shop on an instance of its own, with dev's first commit."""
    with dg.DagsterInstance.ephemeral() as instance:

        def make(gate: str = "{}", text: str = SHOP) -> DagsterShop:
            text = text.replace("gate: {environment: staging}", f"gate: {gate}")
            shop = make_shop(tmp_path, text)
            shop.dev.commit(PROJECT_FILES, "Initial commit")
            return DagsterShop(shop, instance)

        yield make


MOMENTS = ["promote staging", "run staging", "promote prod", "deploy prod"]


@pytest.mark.slow
@pytest.mark.parametrize("by", [-DAY, DAY], ids=["back", "ahead"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("between", ["evidence and tick", "tick and run"])
def test_everything_happens_once_and_in_order_when_the_clock_jumps(
    made, wall, *, by, moment, between
):
    dagster = made()
    shop, done, jumped = dagster.shop, [], False
    for _ in range(30):
        fresh = dagster.ask()
        if not fresh:
            if not wall.wrong:
                break
            wall.wrong = timedelta()  # somebody puts it right
        for request in fresh:
            name = " ".join(request.run_key.split()[:2])
            is_now = name == moment and not jumped
            jumped = jumped or is_now
            if is_now and between == "tick and run":
                wall.wrong = by
            # Refused is what the sensor asked for while the run that proves it was not of tomorrow.
            may_fail = is_now and name == "promote prod" and wall.wrong < timedelta()
            if dagster.launch(request).success:
                done.append(name)
            else:
                assert may_fail, name
            if is_now:
                wall.wrong = by
    assert list(dict.fromkeys(done)) == MOMENTS
    # Only a run is asked for again: one that is dated tomorrow proves nothing today.
    once = [name for name in done if name != "run staging"]
    assert sorted(once) == sorted(set(once))
    assert done.count("run staging") <= 3
    assert shop.prod.tree() == shop.staging.tree() == shop.dev.tree()
    assert len(shop.prod.tags()) == 1
    assert deployments.deployed(dagster.instance, "shop", "prod") == shop.prod.head


def settle_until(dagster: DagsterShop, last: str) -> None:
    """Tick and run until that is done which a run key begins with."""
    for _ in range(10):
        for request in dagster.ask():
            dagster.launch(request)
            if str(request.run_key).startswith(last):
                return
    raise AssertionError(f"{last} was not asked for")


@pytest.mark.slow
def test_a_failure_keeps_production_closed_though_the_success_before_it_is_dated_after_it(
    made, wall, tmp_path
):
    dagster = made()
    shop, broken = dagster.shop, tmp_path / "broken"
    shop.dev.commit({"run.sh": f"test ! -e {broken}\n"})
    wall.wrong = DAY
    settle_until(dagster, "run staging")
    wall.wrong = timedelta()
    broken.touch()
    settle_until(dagster, "run staging")
    book = InstanceBook(dagster.instance)
    told = book.find("shop", "staging", "staging", [shop.staging.head])
    assert [e.outcome for e in sorted(told, key=lambda e: e.time)] == [FAILED, PASSED]
    for wall.wrong in (timedelta(), DAY, 2 * DAY):
        assert dagster.settle() == []
        assert not shop.prod.head


JOBS = SHOP.replace(
    "    run: {platform: command, command: [sh, run.sh], deadline: 1m}\n",
    "    deploy: {platform: command, command: [sh, deploy.sh], deadline: 1m}\n",
)


@dg.op
def work() -> None:
    """Do what staging's own pipeline does."""


@dg.job
def staging_elt() -> None:
    work()


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [timedelta(), DAY], ids=["right", "a day ahead"])
def test_a_job_that_ran_before_a_deployment_proves_nothing_of_it_whatever_its_date(
    made, wall, ahead
):
    dagster = made("{jobs: [staging_elt]}", text=JOBS)
    wall.wrong = ahead
    assert staging_elt.execute_in_process(instance=dagster.instance).success
    wall.wrong = timedelta()
    dagster.settle()
    wall.wrong = 2 * DAY
    dagster.settle()
    assert not dagster.shop.prod.head
    assert staging_elt.execute_in_process(instance=dagster.instance).success
    dagster.settle()
    assert dagster.shop.prod.tree() == dagster.shop.dev.tree()


@pytest.mark.slow
@pytest.mark.parametrize("by", [-DAY, DAY], ids=["back", "ahead"])
def test_a_refused_run_is_asked_for_again_within_a_minute_of_work(made, wall, by):
    dagster = made()
    request = dagster.ask()[0]
    job = dagster.defs.resolve_job_def(request.job_name)
    run = dagster.instance.create_run_for_job(
        job, tags=request.tags, status=dg.DagsterRunStatus.FAILURE
    )
    dagster.instance.add_run_tags(run.run_id, {naming.REFUSED_TAG: run.run_id})
    assert "it is asked for again a minute later" in dagster.why()
    wall.wrong += by
    if by < timedelta():
        wall.wrong += PAUSE
    assert len(dagster.ask()) == 1


@pytest.mark.slow
def test_a_dead_worker_is_waited_for_no_longer_than_the_clock_was_wrong(made, wall):
    dagster = made()
    wall.wrong = DAY
    request = dagster.ask()[0]
    job = dagster.defs.resolve_job_def(request.job_name)
    run = dagster.instance.create_run_for_job(
        job, tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    dagster.instance.report_engine_event("began", run)
    wall.wrong = timedelta()
    assert "is under way" in dagster.why()
    wall.wrong = DAY + timedelta(hours=1)
    assert len(dagster.ask()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("by", [timedelta(), DAY], ids=["right", "a day ahead"])
def test_a_deployment_under_way_is_not_begun_again_on_this_machine(made, wall, tmp_path, by):
    dagster = made()
    shop, log, hold = dagster.shop, tmp_path / "log", tmp_path / "hold"
    begin = f"echo begun >> {log}\nwhile test -e {hold}; do sleep 0.1; done\n"
    shop.dev.commit({"deploy.sh": begin})
    settle_until(dagster, "promote prod")
    (request,) = dagster.ask()
    hold.touch()
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(dagster.launch, request)
        wait_for("the deployment", log.exists)
        wall.wrong = by
        second = [dagster.launch(again) for again in dagster.ask()] or [dagster.deploy()]
        hold.unlink()
        assert first.result().success
    assert [run.success for run in second] == [False]
    assert f"is being deployed by Dagster run {first.result().run_id}" in str(second[0].all_events)
    assert dagster.settle() == []
    assert log.read_text() == "begun\n"


def test_deadlines_and_locks_do_not_look_at_the_clock_on_the_wall(tmp_path, wall):
    wall.wrong = -DAY
    env = {"PATH": "/usr/bin:/bin"}
    done = process.run(["sleep", "20"], env=env, deadline=0.2)
    assert done.timed_out
    path = tmp_path / "lock"
    with locks.held([path], "first"), locks.held([path], "second", patience=0.2) as second:
        assert isinstance(second, locks.Busy)
