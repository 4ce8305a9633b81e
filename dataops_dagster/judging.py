"""Ask a target's gate: look up the facts that its conditions need, and let `gate` judge them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from dataops_dagster import linting, predicates, signatures
from dataops_dagster.gate import decisions as gate_decisions
from dataops_dagster.gate import landing, periods
from dataops_dagster.gate.evidence import (
    Candidate,
    Choice,
    Witness,
    choose,
    evidence_verdict,
    what_ran,
)
from dataops_dagster.git import Access
from dataops_dagster.model import (
    Allowance,
    Book,
    Decision,
    DecisionKind,
    Equality,
    Evidence,
    Plan,
    State,
    Verdict,
)
from dataops_dagster.objects import News
from dataops_dagster.planning import CANDIDATES, Planner
from dataops_dagster.settings import Supersede, Workspace
from dataops_dagster.settings_gate import Approvals, Gate, Lint, LintLevel


@dataclass(frozen=True)
class Judge:
    """What is looked up for one target's gate, at one moment.

    `tips` are the heads of the upstreams that must all have proved what lands.
    """

    planner: Planner
    book: Book
    now: datetime
    allow: Collection[Allowance]
    tips: Mapping[str, str]

    def choose(self, candidates: Sequence[str], news: News) -> Choice:
        """Let the gate choose among the upstream's commits, which are newest first."""
        if self.gate is None:
            chosen = 0 if self.target.supersede is Supersede.LATEST else len(candidates) - 1
            return Choice(candidates[chosen], ())
        trees = self._trees(candidates, news)
        named = [Candidate(commit, trees[commit]) for commit in candidates]
        witnesses = [self._witness(name, tip, named) for name, tip in self.tips.items()]
        return choose(
            named,
            witnesses if self.gate.runs else (),
            self.gate,
            self.decisions,
            now=self.now,
            supersede=self.target.supersede,
        )

    def on_target(self) -> list[Verdict]:
        """Return what is said about the target, whatever may land there."""
        found = []
        if self.gate and self.gate.windows:
            found.append(periods.windows_verdict(self.gate.windows, self.now))
        if self.gate and self.gate.freezes:
            found.append(periods.freezes_verdict(self.gate.freezes, self.now))
        if held := gate_decisions.hold_verdict([*self._rolled_back, *self.decisions], self.now):
            found.append(held)
        return found

    def on_plan(self, plan: Plan, evidence: Sequence[Evidence]) -> list[Verdict]:
        """Return what is said about exactly this plan; `evidence` is what proved its commit."""
        gate, found = self.gate, list[Verdict]()
        asks = gate and (gate.approvals or plan.hotfixes)
        approvals = self._approvals(plan) if asks else []
        if gate and gate.runs:
            found.append(self._tested(plan, gate))
        if gate and plan.equality not in (Equality.SAME_COMMIT, Equality.SAME_TREE):
            # Else the candidate's tree was judged already.
            rejected = gate_decisions.rejected_verdict("", plan.tree, self.decisions, now=self.now)
            found += [rejected] if rejected else []
        if gate and (hotfix := self._hotfix(plan, gate, approvals)):
            found.append(hotfix)
        if gate and gate.lint:
            found.append(self._linted(plan, gate.lint))
        if gate and gate.approvals:
            found.append(
                gate_decisions.approvals_verdict(
                    plan,
                    approvals,
                    gate.approvals,
                    authors=self._authors(plan),
                    now=self.now,
                )
            )
        if gate and gate.predicate:
            where = f"workspaces.{self.target.name}.gate.predicate"
            found.append(predicates.verdict(gate.predicate, plan, evidence, self.now, where=where))
        return found

    # --- facts --------------------------------------------------------------------------------

    @property
    def target(self) -> Workspace:
        """The workspace that is promoted into."""
        return self.planner.target

    @property
    def gate(self) -> Gate | None:
        """The target's gate, if it has one."""
        return self.target.gate

    @cached_property
    def decisions(self) -> Sequence[Decision]:
        """All that was decided about the target, where anything hangs on it."""
        if self.gate is None and not self.planner.rollback:
            return ()
        return self.book.decisions(self.planner.project.name, self.target.name)

    @property
    def _rolled_back(self) -> Iterable[Decision]:
        """Yield the hold that a rollback is: git tells of it, so no crash can lose it."""
        if made := self.planner.rollback:
            yield Decision(
                id=made.commit,
                kind=DecisionKind.HOLD,
                target=self.target.name,
                by=made.by or "whoever rolled back",
                reason=f"rolled back to {made.to[:12]}: {made.reason}",
                time=datetime.fromtimestamp(made.time, self.now.tzinfo),
            )

    def _trees(self, commits: Sequence[str], news: News) -> dict[str, str]:
        known = {commit.id: commit.tree for commit in news.commits}
        missing = [commit for commit in commits if commit not in known]
        return known | {c.id: c.tree for c in self.planner.store.commits(missing)}

    def _witness(self, name: str, tip: str, candidates: Sequence[Candidate]) -> Witness:
        """Return what the runs of an upstream say about each candidate.

        Another upstream has commits of its own: what it proved of a candidate, it proved of its tree.
        """
        upstream = self.planner.project.workspaces[name]
        if upstream == self.planner.upstream:
            trees = {candidate.commit: candidate.tree for candidate in candidates}
        else:
            news = self.planner.store.log(self.planner.since, tip, limit=CANDIDATES)
            trees = {c.id: c.tree for c in (*news.commits, *self.planner.store.commits([tip]))}
        found = self._evidence(upstream, trees)
        evidence = {
            c.commit: [
                e
                for e in found
                if e.commit == c.commit or (upstream != self.planner.upstream and e.tree == c.tree)
            ]
            for c in candidates
        }
        return Witness(name, self._environment(upstream), evidence)

    def _evidence(self, upstream: Workspace, trees: Mapping[str, str]) -> list[Evidence]:
        """Return what counts as evidence about commits, whose trees are given.

        Evidence about another tree than the commit's is no evidence about the commit, nor is a run
        of something else than what a run now is.
        """
        environment, project = self._environment(upstream), self.planner.project.name
        claimed = [
            evidence
            for evidence in self.book.find(project, upstream.name, environment, list(trees))
            if upstream.run
            and evidence.digest
            == what_ran(
                upstream.run, tree=evidence.tree, environment=environment, at=upstream.run_at
            )
        ]
        if self.gate and self.gate.jobs:
            claimed += self.book.job_runs(project, upstream.name, environment, self.gate.jobs)
        return [e for e in claimed if trees.get(e.commit) == e.tree]

    def _environment(self, upstream: Workspace) -> str:
        return (self.gate and self.gate.environment) or upstream.environment

    def _tested(self, plan: Plan, gate: Gate) -> Verdict:
        retests = []
        if landing.needs_retest(plan, gate.tested_tree):
            upstream = self.planner.upstream
            found = self._evidence(upstream, {plan.commit: plan.tree})
            witness = Witness(upstream.name, self._environment(upstream), {plan.commit: found})
            once = gate.model_copy(update={"runs": 1})
            retests.append(evidence_verdict(plan.commit, witness, once, now=self.now))
        return landing.tested_verdict(plan, gate.tested_tree, retests)

    def _hotfix(self, plan: Plan, gate: Gate, approvals: Sequence[Decision]) -> Verdict | None:
        if not plan.hotfixes:
            return None
        rule = gate.approvals or Approvals()
        approved, _ = gate_decisions.approvers(
            plan.digest, approvals, rule, authors=self._authors(plan), now=self.now
        )
        return landing.hotfix_verdict(
            plan,
            self.planner.hotfix_paths(),
            allowed=Allowance.THEIRS in self.allow,
            approved_by=approved,
        )

    def _approvals(self, plan: Plan) -> list[Decision]:
        """Return what was decided, and the approvals that were signed."""
        rule = self.gate and self.gate.approvals
        if not (rule and rule.allowed_signers):
            return list(self.decisions)
        project = self.planner.project
        signed = signatures.approvals(
            self.planner.store,
            Access.of(project, self.planner.upstream),
            project.name,
            plan.target,
            Path(rule.allowed_signers),
            plan=plan.digest,
        )
        return [*self.decisions, *(d for d in signed if d.commit == plan.upstream_commit)]

    def _authors(self, plan: Plan) -> set[str]:
        return self.planner.store.authors(self.planner.since, plan.upstream_commit)

    def _linted(self, plan: Plan, rule: Lint) -> Verdict:
        planner = self.planner
        found = linting.of_plan(plan, planner.project, store=planner.store, ignore=rule.ignore)
        if rule.level is LintLevel.WARNING:
            return landing.lint_verdict([*found.errors, *found.warnings], plan.target)
        return landing.lint_verdict(found.errors, plan.target, found.warnings)


def is_waiting_for_retest(
    verdicts: Sequence[Verdict], plan: Plan | None, gate: Gate | None
) -> bool:
    """Say whether all that is missing for the tested tree is a run of the merge itself."""
    return bool(
        plan
        and gate
        and landing.needs_retest(plan, gate.tested_tree)
        and any(v.condition == "tested tree" and v.state is State.PENDING for v in verdicts)
    )
