"""Whatever happens in whatever order: nothing lands unproven, nothing is lost, nobody waits for ever."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dataops_dagster import backport, promotion, rollback
from dataops_dagster.gate.evidence import what_ran
from dataops_dagster.model import (
    Allowance,
    Decision,
    DecisionKind,
    Evidence,
    Held,
    NothingToDo,
    Outcome,
    Plan,
    Promoted,
    Raced,
    Ready,
    Rejected,
)
from tests.conftest import NOW, RUN, make_shop
from tests.repositories import git

pytestmark = pytest.mark.slow

RUNS, MAX_AGE, SOAK, EXPIRES = 2, timedelta(days=1), timedelta(hours=1), timedelta(hours=6)

SHOP = """\
project: shop
protocols: [file]
workspaces:
  dev: {repository: dev.git, environment: dev}
  staging:
    repository: staging.git
    environment: staging
    run: {platform: command, command: [sh, run.sh], deadline: 1m}
  prod:
    repository: prod.git
    environment: prod
    upstream: staging
    gate:
      runs: 2
      max_age: 1d
      soak: 1h
      tested_tree: retest
      approvals: {expires: 6h, exclude_authors: false}
"""


@dataclass(frozen=True)
class Ran:
    """A run as the test remembers it, beside what the code under test is told."""

    commit: str
    outcome: Outcome
    time: datetime


class Story(RuleBasedStateMachine):
    """Staging and production, and everybody who may do something to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="dataops-story-")
        self.shop = make_shop(Path(self.folder.name), SHOP)
        self.now = NOW
        self.count = itertools.count()
        self.runs: list[Ran] = []
        self.heads: list[str] = []
        self.approved: dict[str, datetime] = {}
        self.rejected: set[str] = set()
        self.held: set[str] = set()
        self.rolled_back = False

    @initialize()
    def begin(self) -> None:
        """Production has had two releases: from here things can go wrong."""
        self.shop.staging.commit({"run.sh": "true\n", "a.yml": "a: 0\n"})
        for _ in range(2):
            self.a_good_day()
            self.promote()
        assert len(self.shop.prod.tags()) == 2

    def teardown(self) -> None:
        try:
            if self.shop.staging.head:
                self._everything_is_mended_and_lands()
        finally:
            self.folder.cleanup()

    # --- what people and machines do ----------------------------------------------------------

    @rule(name=st.sampled_from(["a.yml", "b.yml"]))
    def push(self, name: str) -> None:
        self.shop.staging.commit({name: f"a: {next(self.count)}\n"})

    @rule()
    def push_what_was_there_before(self) -> None:
        self.shop.staging.commit({"a.yml": "a: 0\n", "b.yml": "a: 0\n"})

    @precondition(lambda self: self.shop.prod.head)
    @rule()
    def hotfix(self) -> None:
        self.shop.prod.commit({f"hotfix-{next(self.count)}.sql": "select 1\n"}, "Hotfix")

    @rule(outcome=st.sampled_from([*[Outcome.PASSED] * 3, Outcome.FAILED, Outcome.ERRORED]))
    def run(self, outcome: Outcome) -> None:
        self._ran(self.shop.staging.head, self.shop.staging.tree(), outcome)

    @rule(outcome=st.sampled_from([Outcome.PASSED, Outcome.FAILED]))
    def run_the_merge_itself(self, outcome: Outcome) -> None:
        if plan := self._plan():
            self._ran(plan.commit, plan.tree, outcome)

    @rule()
    def approve(self) -> None:
        if plan := self._plan():
            self._decide(DecisionKind.APPROVE, plan=plan.digest)
            self.approved[plan.digest] = self.now + EXPIRES

    @rule()
    def a_good_day_and_a_promotion(self) -> None:
        self.a_good_day()
        self.promote()

    @rule(what=st.sampled_from(["run", "hold", "reject", "push", "too late", "too early", "undo"]))
    def a_good_day_that_one_thing_spoils(self, what: str) -> None:
        self.a_good_day()
        if what == "run":
            self.run(Outcome.FAILED)
        elif what == "push":
            self.push("a.yml")
        elif what == "undo":
            self.roll_back()
        elif what in ("hold", "reject"):
            getattr(self, what)()
        else:
            self.now += EXPIRES if what == "too late" else -timedelta(minutes=1)
        self.promote()

    @rule()
    def a_race_on_a_good_day(self) -> None:
        self.a_good_day()
        self.somebody_pushes_while_we_promote()

    @rule()
    def a_good_day(self) -> None:
        """Do what usually happens: chance alone would seldom open such a gate."""
        self._lift()
        self.push("b.yml")
        for _ in range(RUNS):
            self.run(Outcome.PASSED)
        self.now += SOAK
        self.run_the_merge_itself(Outcome.PASSED)
        self.approve()

    @rule()
    def hold(self) -> None:
        self.held.add(self._decide(DecisionKind.HOLD))

    @rule()
    def lift(self) -> None:
        self._lift()

    @rule()
    def reject(self) -> None:
        head, tree = self.shop.staging.head, self.shop.staging.tree()
        self._decide(DecisionKind.REJECT, commit=head, tree=tree)
        self.rejected |= {head, tree}

    @rule(minutes=st.sampled_from([1, 30, 61, 200, 600, 1500, -90]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @precondition(lambda self: self.shop.prod.head)
    @rule()
    def roll_back(self) -> None:
        ready = self._rollback()
        if isinstance(ready, Ready):
            answer = promotion.publish(
                self.shop.project, ready, store=self.shop.store, now=self.now
            )
            assert isinstance(answer, Promoted)
            assert self.shop.prod.tree() == ready.plan.tree
            self.rolled_back = True
            event("rolled back")

    @rule()
    def rewrite_the_upstream(self) -> None:
        bare = self.shop.staging.bare
        parent = git(bare, "rev-parse", "--verify", "--quiet", "refs/heads/main~1", code=None)
        if parent:
            git(bare, "update-ref", "refs/heads/main", parent)

    @rule()
    def lose_the_cache(self) -> None:
        import shutil

        shutil.rmtree(self.shop.store.folder, ignore_errors=True)
        self.shop.store.__dict__.pop("_command", None)

    @rule()
    def promote(self) -> None:
        self._look(self.shop.promote("prod", now=self.now))

    @rule()
    def somebody_pushes_while_we_promote(self) -> None:
        found = self._considered()
        if isinstance(found, Ready):
            before = self.shop.prod.commit({f"hotfix-{next(self.count)}.sql": ""}, "Meanwhile")
            answer = promotion.publish(
                self.shop.project, found, store=self.shop.store, now=self.now
            )
            assert isinstance(answer, Raced)
            event("raced")
            assert self.shop.prod.head == before

    # --- what must hold -----------------------------------------------------------------------

    @invariant()
    def no_commit_of_production_is_ever_lost(self) -> None:
        head = self.shop.prod.head
        if not head or (self.heads and self.heads[-1] == head):
            return
        for earlier in self.heads[-1:]:
            git(self.shop.prod.bare, "merge-base", "--is-ancestor", earlier, head)
        self.heads.append(head)

    def _look(self, answer: object) -> None:
        """Judge by the test's own memory whether what landed was allowed to."""
        assert isinstance(answer, Promoted | Held | NothingToDo | Rejected), answer
        if not isinstance(answer, Promoted):
            return
        event("landed")
        plan = answer.ready.plan
        proofs = self._unbroken(plan.upstream_commit)
        fresh = [ran for ran in proofs if self.now - ran.time <= MAX_AGE]
        assert len(fresh) >= RUNS
        assert proofs[0].time + SOAK <= self.now
        tree = git(self.shop.staging.bare, "rev-parse", f"{plan.upstream_commit}^{{tree}}")
        if plan.tree != tree:
            assert self._unbroken(plan.commit)
        assert self.shop.prod.tree() == plan.tree
        assert self.now < self.approved[plan.digest]
        assert not self.held
        assert not self.rolled_back
        assert not {plan.upstream_commit, tree, plan.tree} & self.rejected

    def _everything_is_mended_and_lands(self) -> None:
        self._lift()
        self.shop.staging.commit({"c.yml": f"c: {next(self.count)}\n"}, "Mended")
        self.now = max([self.now, *(ran.time for ran in self.runs)])
        for _ in range(RUNS):
            self._ran(self.shop.staging.head, self.shop.staging.tree(), Outcome.PASSED)
        self.now += SOAK
        allow = [Allowance.REWRITTEN]
        plan = self._plan(allow=allow)
        assert plan, self._considered(allow=allow)
        self._ran(plan.commit, plan.tree, Outcome.PASSED)
        self._decide(DecisionKind.APPROVE, plan=plan.digest)
        self.approved[plan.digest] = self.now + EXPIRES
        answer = self.shop.promote("prod", now=self.now, allow=allow)
        assert isinstance(answer, Promoted), answer
        self._look(answer)
        self.no_commit_of_production_is_ever_lost()
        assert self.shop.prod.show("c.yml") == self.shop.staging.show("c.yml")
        assert self.shop.prod.show("a.yml") == self.shop.staging.show("a.yml")
        project = self.shop.project
        prod, staging = project.workspaces["prod"], project.workspaces["staging"]
        assert backport.refused(project, prod, store=self.shop.store) is None
        turned, receives = backport.turned(project, prod, staging)
        promotion.promote(
            turned,
            receives,
            store=self.shop.store,
            book=self.shop.book,
            now=self.now,
        )
        assert self.shop.staging.tree() == self.shop.prod.tree()

    # --- how it is done -----------------------------------------------------------------------

    def _considered(self, **more: object):
        return self.shop.consider("prod", now=self.now, **more)

    def _plan(self, **more: object) -> Plan | None:
        found = self._considered(**more)
        return found.plan if isinstance(found, Held | Ready) else None

    def _rollback(self):
        prod = self.shop.project.workspaces["prod"]
        told = {"by": "ada", "reason": "numbers are off", "now": self.now}
        return rollback.consider(self.shop.project, prod, store=self.shop.store, to=None, **told)

    def _ran(self, commit: str, tree: str, outcome: Outcome) -> None:
        if outcome is not Outcome.ERRORED:
            self.runs.append(Ran(commit, outcome, self.now))
        self.shop.book.evidence.append(
            Evidence(
                workspace="staging",
                commit=commit,
                tree=tree,
                environment="staging",
                outcome=outcome,
                run_id=f"run-{next(self.count)}",
                time=self.now,
                ran="sh run.sh",
                digest=what_ran(RUN, tree=tree, environment="staging"),
            )
        )

    def _unbroken(self, commit: str) -> list[Ran]:
        """Return the successes of a commit that no failure followed, or came along with."""
        runs = [ran for ran in self.runs if ran.commit == commit]
        failures = [ran.time for ran in runs if ran.outcome is Outcome.FAILED]
        last = max(failures, default=None)
        passed = [ran for ran in runs if ran.outcome is Outcome.PASSED]
        late = self.now + timedelta(minutes=5)
        proofs = [r for r in passed if (last is None or r.time > last) and r.time <= late]
        return sorted(proofs, key=lambda ran: ran.time)

    def _decide(self, kind: DecisionKind, **more: str) -> str:
        id_ = f"decision-{next(self.count)}"
        self.shop.book.decided.append(
            Decision(id=id_, kind=kind, target="prod", by="ada", reason="r", time=self.now, **more)
        )
        return id_

    def _lift(self) -> None:
        found = rollback.look(
            self.shop.project, self.shop.project.workspaces["prod"], store=self.shop.store
        )
        undone = found.rollback(found.releases[0][1]) if found.releases else None
        for id_ in [*self.held, *([undone.commit] if undone else [])]:
            self._decide(DecisionKind.LIFT, lifts=id_)
        self.held.clear()
        self.rolled_back = False


class TestStory(Story.TestCase):
    settings = settings(max_examples=30, stateful_step_count=12)
