"""What is due now: compares what should be with what is, and asks Dagster for what is missing.

Level-triggered: nothing is remembered between two looks, so a crash anywhere is healed by the
next one. Sensors and schedules only hand over what is decided here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import dagster as dg
from typing_extensions import assert_never

from dataops_dagster import promotion
from dataops_dagster.errors import DataOpsError
from dataops_dagster.gate.evidence import Witness, evidence_verdict, what_ran
from dataops_dagster.gate.verdicts import lines
from dataops_dagster.git import Access
from dataops_dagster.heads import Head, Heads
from dataops_dagster.judging import is_waiting_for_retest
from dataops_dagster.model import (
    Conflicted,
    Considered,
    Evidence,
    Held,
    NothingToDo,
    Outcome,
    Plan,
    Ready,
    Refusal,
    Rejected,
    State,
)
from dataops_dagster.orchestration import deployments, naming
from dataops_dagster.orchestration.asking import ATTEMPTS, MARGIN, Asking, Decision, Wait
from dataops_dagster.orchestration.book import BookOf, InstanceBook
from dataops_dagster.orchestration.memory import Memory
from dataops_dagster.planning import is_on, rollback_of
from dataops_dagster.settings import Project, Workspace
from dataops_dagster.settings_steps import Step
from dataops_dagster.store import Store

PROMOTION = timedelta(minutes=30)
"""What a promotion may take; the first one fetches whole repositories."""


@dataclass(frozen=True)
class Due:
    """What to ask Dagster for, and for everything else why not."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, name: str, found: Decision) -> None:
        """Take what was decided about one workspace."""
        if isinstance(found, Wait):
            self.reasons.append(f"{name}: {found.reason}")
        else:
            self.requests.append(found)

    def result(self, events: Sequence[Any] = ()) -> dg.SensorResult:
        """Return what a sensor answers, with events that show it."""
        if self.requests:
            return dg.SensorResult(run_requests=self.requests, asset_events=events)
        reason = "\n".join(self.reasons) or "nothing is automatic here"
        return dg.SensorResult(skip_reason=reason, asset_events=events)


@dataclass
class Observer:
    """What is looked at to decide what is due, at one moment."""

    project: Project
    instance: dg.DagsterInstance
    store: Store
    now: datetime
    book_of: BookOf = InstanceBook
    memory: Memory | None = None
    """What an earlier look found; none where others than Dagster's runs are believed, too."""

    until: float = math.inf
    """When to begin with no further workspace, as `time.monotonic()` tells it."""

    begin: str = ""
    """The workspace to begin with: the first that an earlier look left out. Here it is left in turn."""

    considered: dict[str, Considered] = field(default_factory=dict)
    """What was found out about each target."""

    settled: dict[str, Sequence[Decision]] = field(default_factory=dict)
    """The answers for workspaces of which nothing changes as long as nothing happens."""

    @cached_property
    def _runs(self) -> Asking:
        return Asking(self.instance, self.now)

    def due(self, heads: Heads) -> Due:
        """Return everything that happens on change and is due."""
        found, left = Due(), list[str]()
        for number, workspace in enumerate(self._in_turn()):
            kept = self.memory.recall(workspace.name) if self.memory else None
            if kept and kept[0] == self._around(workspace, heads):
                answers = kept[1]
            elif number and time.monotonic() > self.until:
                left.append(workspace.name)
                answers = [Wait("comes first at the next look: this one took too long")]
            else:
                answers = list(self._answers(workspace, heads))
            for answer in answers:
                found.add(workspace.name, answer)
            if all(isinstance(answer, Wait) and answer.settled for answer in answers):
                self.settled[workspace.name] = answers
        self.begin = next(iter(left), "")
        return found

    def _in_turn(self) -> Sequence[Workspace]:
        """Return all workspaces, from the one to begin with on."""
        names = list(self.project.workspaces)
        at = names.index(self.begin) if self.begin else 0
        return [self.project.workspaces[name] for name in (*names[at:], *names[:at])]

    def remember(self, heads: Heads, *, without: Collection[dg.AssetKey]) -> None:
        """Keep what is settled, also for the gates that ask for a workspace's runs."""
        if self.memory is None:
            return
        for name, answers in self.settled.items():
            asked = [target.name for target in self._targets.get(name, ()) if target.gate]
            is_known = naming.asset_key(self.project.name, name) not in without
            if is_known and self.settled.keys() >= set(asked):
                around = self._around(self.project.workspaces[name], heads)
                self.memory.keep(name, (around, answers))

    @cached_property
    def _targets(self) -> Mapping[str, Sequence[Workspace]]:
        found: dict[str, list[Workspace]] = {}
        for target in self.project.targets:
            for name in target.upstream:
                found.setdefault(name, []).append(target)
        return found

    def _around(self, workspace: Workspace, heads: Heads) -> object:
        """Return the heads that the answers for a workspace depend on."""
        targets = (target.name for target in self._targets.get(workspace.name, ()))
        found = [heads[name] for name in (workspace.name, *workspace.upstream, *targets)]
        return [(h.commit, h.release) if isinstance(h, Head) else None for h in found]

    def _answers(self, workspace: Workspace, heads: Heads) -> Iterator[Decision]:
        """Yield what is decided about one workspace."""
        promotes = False
        if workspace.auto_rollback:
            answer = self._guarded(self.rollback, workspace, heads)
            yield answer
            if isinstance(answer, dg.RunRequest) or answer.under_way:
                return  # what else would happen to it is for what comes after
        if workspace.upstream and workspace.promote == "change":
            answer = self._guarded(self.promotion, workspace, heads)
            promotes = isinstance(answer, dg.RunRequest) or answer.under_way
            yield answer
        elif workspace.gate:
            yield self._guarded(self._standing, workspace, heads)
        if workspace.deploy and workspace.deploy.when == "change":
            yield self._guarded(self.deployment, workspace, heads)
        elif workspace.deploy and workspace.upstream:
            # What a rollback brought back is served again, whoever deploys otherwise.
            yield self._guarded(self._brought_back, workspace, heads)
        if workspace.run and workspace.run.when == "change":
            # A release is run even when the next one is on its way: else a busy upstream
            # would leave nothing ever proven.
            if promotes and not _is_release(heads[workspace.name]):
                yield Wait("is run when the promotion is done")
            else:
                yield self._guarded(self.run, workspace, heads)

    def _guarded(
        self,
        decide: Callable[[Workspace, Heads], Decision],
        workspace: Workspace,
        heads: Heads,
    ) -> Decision:
        """Let a server that fails us spoil only its own workspaces."""
        try:
            return decide(workspace, heads)
        except DataOpsError as error:
            return Wait(f"could not find out: {error}")

    def promotion(self, target: Workspace, heads: Heads) -> Decision:
        """Ask for the promotion that the gate would let land now."""
        considered = self._consider(target, heads)
        if not isinstance(considered, Ready):
            return self._not_now(target, considered)
        plan = considered.plan
        graph = naming.promotion_graph(self.project.name, target.name)
        op = naming.promotion_op("fetch", self.project.name, target.name)
        # What was promoted before, and rolled back, a person let in again by lifting the hold.
        again = plan.base and is_on(self.store, plan.base, plan.upstream_commit)
        return self._runs.ask(
            naming.promotion_tag(self.project.name, target.name, plan.upstream_commit),
            # The plan is part of the key: another head of the target is another promotion.
            key=f"promote {target.name} {plan.digest}",
            what=f"the promotion of {plan.upstream_commit[:12]}",
            answered=lambda run: (
                "was done, and the target set back since" if run.is_success and not again else ""
            ),
            limit=PROMOTION,
            request=lambda **more: dg.RunRequest(
                job_name=naming.promote_job(self.project.name),
                asset_selection=[naming.asset_key(self.project.name, target.name)],
                asset_check_keys=[],  # else Dagster adds the asset's checks: a run is apart
                run_config={
                    "ops": {graph: {"ops": {op: {"config": {"commit": plan.upstream_commit}}}}}
                },
                **more,
            ),
        )

    def _standing(self, target: Workspace, heads: Heads) -> Decision:
        """Say where the gate of a target stands that people, or the clock, promote into."""
        considered = self._consider(target, heads)
        if isinstance(considered, Ready):
            return Wait(f"could be promoted into now; that is left to {target.promote}")
        return self._not_now(target, considered)

    def _consider(self, target: Workspace, heads: Heads) -> Considered:
        found = promotion.consider(
            self.project,
            target,
            store=self.store,
            book=self.book_of(self.instance),
            now=self.now,
            heads=heads,
        )
        self.considered[target.name] = found
        return found

    def _not_now(self, target: Workspace, considered: NothingToDo | Refusal) -> Decision:
        match considered:
            case NothingToDo():
                return Wait(f"has all of {', '.join(target.upstream)}", settled=True)
            case Held(_, verdicts, plan):
                if plan and is_waiting_for_retest(verdicts, plan, target.gate):
                    return self._retest(target, plan)
                return Wait("\n".join(["not yet", *lines(verdicts, depth=1)]))
            case Conflicted(_, _, _):
                return Wait(f"refused: {considered.reason}")
            case Rejected(_, reason, hint):
                return Wait(f"refused: {reason} (hint: {hint})")
            case _:
                assert_never(considered)

    def deployment(self, workspace: Workspace, heads: Heads) -> Decision:
        """Ask for the deployment of a head that is not served; a target's must be a release."""
        assert workspace.deploy
        head = _known(heads[workspace.name])
        if isinstance(head, Wait):
            return head
        commit = _commit(head)
        if deployments.deployed(self.instance, self.project.name, workspace.name) == commit:
            return Wait(f"serves its head {commit[:12]}", settled=True)
        if workspace.upstream and head.release is None:
            return Wait(
                f"its head {commit[:12]} is not a release; deploy it by hand if it should be",
                settled=True,
            )
        tag = naming.deployment_tag(self.project.name, workspace.name, commit)
        return self._runs.ask(
            tag,
            key=f"deploy {workspace.name} {commit}",
            told=self._approved_since(tag, workspace),
            what=f"the deployment of {commit[:12]}",
            limit=workspace.deploy.deadline + MARGIN,
            answered=lambda run: self._deployment_answer(run, workspace),
            request=lambda **more: dg.RunRequest(
                job_name=naming.deploy_job(self.project.name),
                asset_selection=[naming.deployment_key(self.project.name, workspace.name)],
                run_config=_config(naming.deploy_op(self.project.name), workspace, commit),
                **more,
            ),
        )

    def _approved_since(self, tag: tuple[str, str], workspace: Workspace) -> set[str]:
        """Return the runs whose deployment waited for a plan that is approved now."""
        runs = self.instance.get_run_records(
            dg.RunsFilter(tags={tag[0]: tag[1]}), limit=ATTEMPTS * 10
        )
        waited = {r.dagster_run.run_id: self._waits_for(r.dagster_run, workspace) for r in runs}
        if not any(waited.values()):
            return set()
        approved = deployments.approved(self.instance, self.project.name, workspace)
        return {run_id for run_id, digest in waited.items() if digest in approved}

    def _waits_for(self, run: dg.DagsterRun, workspace: Workspace) -> str:
        return deployments.waits_for(self.instance, run, self.project.name, workspace.name)

    def _deployment_answer(self, run: dg.DagsterRun, workspace: Workspace) -> str:
        if run.is_success:
            return "was done, and another commit deployed by hand since"
        if digest := self._waits_for(run, workspace):
            return f"waits for dataops approve {workspace.name} --plan {digest}"
        failed = deployments.failed(self.instance, run, self.project.name, workspace.name)
        return "failed" if failed else ""

    def run(self, workspace: Workspace, heads: Heads) -> Decision:
        """Ask for a run of a head that lacks evidence; what deploys is deployed first."""
        assert workspace.run
        head = _known(heads[workspace.name])
        if isinstance(head, Wait):
            return head
        commit = _commit(head)
        found = [e for e in self._evidence(workspace, commit) if _is_of(e, workspace)]
        if found and not self._proves_too_little(workspace, commit, found, heads):
            last = max(found, key=lambda evidence: evidence.time)
            return Wait(f"its run at {commit[:12]} {last.outcome.value}", settled=True)
        if workspace.deploy and commit != deployments.deployed(
            self.instance, self.project.name, workspace.name
        ):
            return Wait(f"is run when {commit[:12]} is deployed")
        told = {evidence.run_id for evidence in self._evidence(workspace, commit)}
        return self._runs.ask(
            naming.run_tag(self.project.name, workspace.name, commit, workspace.environment),
            key=f"run {workspace.name} {commit} {workspace.environment}",
            what=f"the run at {commit[:12]}",
            limit=workspace.run.deadline + MARGIN,
            told=told,
            request=lambda **more: self._run_request(
                workspace, {"commits": {workspace.name: commit}}, **more
            ),
        )

    def _evidence(self, workspace: Workspace, commit: str) -> Sequence[Evidence]:
        return self.book_of(self.instance).find(
            self.project.name, workspace.name, workspace.environment, [commit]
        )

    def _proves_too_little(
        self, workspace: Workspace, commit: str, found: Sequence[Evidence], heads: Heads
    ) -> bool:
        """Say whether a target that lacks the commit waits for more, or for younger, evidence."""
        witness = Witness(workspace.name, workspace.environment, {commit: found})
        for target in self.project.targets_of(workspace):
            base = heads[target.name]
            if target.gate is None or not isinstance(base, Head):
                continue
            verdict = evidence_verdict(commit, witness, target.gate, now=self.now)
            if verdict.state is State.PENDING and not (
                base.commit
                and self.store.has(base.commit)
                and is_on(self.store, base.commit, commit)
            ):
                return True
        return False

    def _retest(self, target: Workspace, plan: Plan) -> Decision:
        """Ask for a run of the merge itself, in its upstream's environment."""
        upstream = self.project.workspaces[plan.upstream]
        assert upstream.run
        return self._runs.ask(
            naming.run_tag(self.project.name, upstream.name, plan.commit, upstream.environment),
            key=f"retest {target.name} {plan.commit} {upstream.environment}",
            what=f"the run of the merge {plan.commit[:12]}",
            limit=upstream.run.deadline + MARGIN,
            request=lambda **more: self._run_request(
                upstream, {"retests": {target.name: plan.upstream_commit}}, **more
            ),
        )

    def rollback(self, target: Workspace, heads: Heads) -> Decision:
        """Ask for the rollback of a promotion whose deployment, or run, failed: once."""
        head = _known(heads[target.name])
        if isinstance(head, Wait):
            return head
        commit = _commit(head)
        if head.release is None:
            return Wait("is no release, so nothing is rolled back", settled=True)
        failure = self._failure(target, commit)
        if not failure:
            return Wait("has nothing to roll back", settled=True)
        if self._rolled_back(target, heads):
            return Wait(f"was rolled back already, and {failure}: it waits for a person")
        op = naming.rollback_op(self.project.name)
        return self._runs.ask(
            naming.rollback_tag(self.project.name, target.name, commit),
            key=f"rollback {target.name} {commit}",
            what=f"the rollback of {commit[:12]}",
            limit=PROMOTION,
            answered=lambda run: "was done" if run.is_success else "",
            request=lambda **more: dg.RunRequest(
                job_name=naming.rollback_job(self.project.name),
                run_config={
                    "ops": {
                        op: {
                            "config": {
                                "target": target.name,
                                "undo": commit,
                                "by": "auto_rollback",
                                "reason": failure,
                                "reject": True,
                            }
                        }
                    }
                },
                **more,
            ),
        )

    def _brought_back(self, target: Workspace, heads: Heads) -> Decision:
        if self._rolled_back(target, heads):
            return self.deployment(target, heads)
        return Wait("is deployed by hand, or by the clock", settled=True)

    def _failure(self, target: Workspace, commit: str) -> str:
        """Say what failed after the promotion that made this head, if anything did."""
        project = self.project.name
        key, value = naming.deployment_tag(project, target.name, commit)
        for record in self.instance.get_run_records(
            dg.RunsFilter(tags={key: value}), limit=ATTEMPTS
        ):
            run = record.dagster_run
            if deployments.failed(self.instance, run, project, target.name):
                return f"its deployment failed, run {run.run_id}"
        found = [e for e in self._evidence(target, commit) if _is_of(e, target)]
        last = max(found, key=lambda evidence: evidence.time, default=None)
        if last and last.outcome is Outcome.FAILED:
            return f"its run failed, run {last.run_id}"
        return ""

    def _rolled_back(self, target: Workspace, heads: Heads) -> bool:
        """Say whether the head is what a rollback made."""
        head = heads[target.name]
        if not isinstance(head, Head) or head.commit is None or head.release is None:
            return False
        access = Access.of(self.project, target)
        self.store.fetch(access, target.branch, head.commit, without_blobs=True)
        trailers = self.store.trailers(head.commit)
        found = rollback_of(self.store, head.commit, trailers, project=self.project, target=target)
        return found is not None

    def scheduled_run(self, workspace: Workspace, heads: Heads) -> Decision:
        """Ask for a run of the head, whether or not it was run before."""
        assert workspace.run
        head = _known(heads[workspace.name])
        if isinstance(head, Wait):
            return head
        commit = _commit(head)
        tag = naming.run_tag(self.project.name, workspace.name, commit, workspace.environment)
        limit = workspace.run.deadline + MARGIN
        busy = self._runs.busy(tag, f"the run at {commit[:12]}", limit)
        commits = {"commits": {workspace.name: commit}}
        return busy or self._run_request(workspace, commits, tags={tag[0]: tag[1]})

    def _run_request(
        self, workspace: Workspace, config: Mapping[str, object], **more: Any
    ) -> dg.RunRequest:
        key = naming.asset_key(self.project.name, workspace.name)
        return dg.RunRequest(
            job_name=naming.run_job(self.project.name),
            asset_selection=[],
            asset_check_keys=[dg.AssetCheckKey(key, naming.RUN_CHECK)],
            run_config={"ops": {naming.run_op(self.project.name): {"config": config}}},
            **more,
        )


def schedules_of(project: Project) -> Iterator[tuple[str, Workspace, str]]:
    """Yield what happens by the clock: promote, deploy or run, the workspace, the cron schedule."""

    def steps(workspace: Workspace) -> Iterator[tuple[str, str]]:
        yield "promote", workspace.promote
        pairs: tuple[tuple[str, Step | None], ...] = (
            ("deploy", workspace.deploy),
            ("run", workspace.run),
        )
        for verb, step in pairs:
            if step:
                yield verb, step.when

    for workspace in project.workspaces.values():
        for verb, when in steps(workspace):
            if when not in ("manual", "change"):
                yield verb, workspace, when


def _known(head: Head | DataOpsError) -> Head | Wait:
    if isinstance(head, DataOpsError):
        raise head
    return head if head.commit else Wait("its branch is not there yet")


def _is_release(head: Head | DataOpsError) -> bool:
    return isinstance(head, Head) and head.release is not None


def _commit(head: Head) -> str:
    assert head.commit  # _known said so
    return head.commit


def _is_of(evidence: Evidence, workspace: Workspace) -> bool:
    """Say whether what was run is what a run of the workspace now is."""
    environment = workspace.environment
    return workspace.run is not None and evidence.digest == what_ran(
        workspace.run, tree=evidence.tree, environment=environment, at=workspace.run_at
    )


def _config(op: str, workspace: Workspace, commit: str) -> dict[str, object]:
    return {"ops": {op: {"config": {"commits": {workspace.name: commit}}}}}
