"""The gate on a real Dagster instance: what it believes, what it shows, what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from dataops_dagster import clock, promotion
from dataops_dagster.gate.verdicts import lines
from dataops_dagster.heads import look_up_all
from dataops_dagster.model import DecisionKind, Held, Promoted, Ready
from dataops_dagster.orchestration import naming, records
from dataops_dagster.orchestration.asking import ATTEMPTS
from dataops_dagster.orchestration.book import InstanceBook
from tests.conftest import PROJECT_FILES, SHOP, make_shop
from tests.dagster_shop import DagsterShop

pytestmark = pytest.mark.slow


class Clock:
    """The time, as far as ours goes; Dagster's events keep the real one."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead

    def pass_(self, **more: float) -> None:
        self.ahead += timedelta(**more)


@pytest.fixture
def time(monkeypatch) -> Clock:
    ours = Clock()
    monkeypatch.setattr(clock, "now", ours.now)
    return ours


@pytest.fixture
def gated(tmp_path, time: Clock) -> Iterator[object]:
    """Return what makes a shop whose production has a gate like this, staging promoted and run."""
    time.ahead = timedelta()
    with dg.DagsterInstance.ephemeral() as instance:

        def make(gate: str = "{}", more: str = "", text: str = SHOP) -> DagsterShop:
            text = text.replace(
                "gate: {environment: staging}", f"gate: {gate}\n    {more}".rstrip()
            )
            shop = make_shop(tmp_path, text)
            shop.dev.commit(PROJECT_FILES, "Initial commit")
            return DagsterShop(shop, instance)

        yield make


def states(shop: DagsterShop) -> dict[str, str]:
    """Return the states of the conditions of production's gate."""
    found = considered(shop)
    assert isinstance(found, Held | Ready), found
    return {verdict.condition: verdict.state.value for verdict in found.verdicts}


def considered(shop: DagsterShop, target: str = "prod"):
    project = shop.shop.project
    return promotion.consider(
        project,
        project.workspaces[target],
        store=shop.shop.store,
        book=InstanceBook(shop.instance),
        now=clock.now(),
    )


def decide(shop: DagsterShop, decision: str, **more: str) -> dg.ExecuteInProcessResult:
    config = {"decision": decision, "target": "prod", "by": "ada", "reason": "because", **more}
    job = shop.defs.resolve_job_def("decide_shop")
    return job.execute_in_process(
        {"ops": {"decide__shop": {"config": config}}},
        instance=shop.instance,
        raise_on_error=False,
    )


def plan_of(shop: DagsterShop):
    found = considered(shop)
    assert isinstance(found, Held | Ready)
    assert found.plan
    return found.plan


# --- evidence ---------------------------------------------------------------------------------


def test_three_successes_are_asked_for_and_then_production_follows(gated):
    shop = gated("{runs: 3}")
    done = [key.split()[:2] for key in shop.settle()]
    assert done.count(["run", "staging"]) == 3
    assert shop.shop.prod.tree() == shop.shop.staging.tree()


def test_the_gates_check_says_on_one_line_what_production_waits_for(gated):
    shop = gated()
    shop.launch(shop.ask()[0])
    (told,) = [
        event.description
        for event in shop.tick("gates_shop").asset_events or []
        if isinstance(event, dg.AssetCheckEvaluation) and event.asset_key.path[-1] == "prod"
    ]
    assert told.startswith("evidence: waits for a successful run of staging")


def test_a_run_that_could_not_find_out_counts_neither_way_and_is_tried_a_few_times(gated):
    shop = gated()
    shop.shop.dev.commit({"run.sh": "exit 75\n"})
    done = [key.split()[:2] for key in shop.settle()]
    assert done.count(["run", "staging"]) == ATTEMPTS
    assert states(shop) == {"evidence": "pending"}
    assert f"did not succeed in {ATTEMPTS} runs" in shop.why()


def test_evidence_that_is_too_old_is_renewed_before_anything_lands(gated, time):
    shop = gated("{max_age: 1h, windows: [{cron: '0 3 * * *', lasts: 1m, reason: night}]}")
    while [key for key in shop.settle() if key.startswith("run")]:
        pass
    assert states(shop)["evidence"] == "passed"
    time.pass_(hours=2)
    assert states(shop)["evidence"] == "pending"
    (request,) = shop.ask()
    assert request.job_name == "run_shop"


def test_a_run_of_something_else_than_a_run_now_is_proves_nothing(gated):
    shop = gated("{windows: [{from: 2000-01-01, to: 2000-01-02}]}")
    shop.settle()
    assert states(shop)["evidence"] == "passed"
    path = shop.shop.root / "dataops.yaml"
    path.write_text(path.read_text().replace("[sh, run.sh]", "[sh, -e, run.sh]"))
    from dataops_dagster import config

    shop.shop.project = config.load(path)
    assert states(shop)["evidence"] == "pending"


JOBS = SHOP.replace(
    "    run: {platform: command, command: [sh, run.sh], deadline: 1m}\n",
    "    deploy: {platform: command, command: [sh, deploy.sh], deadline: 1m}\n",
)


@dg.op
def work() -> None:
    """Do what staging's own pipeline does."""


@dg.op
def fail() -> None:
    """Fail as it may."""
    raise RuntimeError("no")


@dg.job
def staging_elt() -> None:
    work()


@dg.job(name="staging_elt")
def failing_elt() -> None:
    fail()


def elt(shop: DagsterShop, job=staging_elt) -> None:
    job.execute_in_process(instance=shop.instance, raise_on_error=False)


def test_a_run_of_the_users_own_job_on_what_is_deployed_is_evidence(gated):
    shop = gated("{jobs: [staging_elt]}", text=JOBS)
    elt(shop)
    shop.settle()
    assert states(shop) == {"evidence": "pending"}  # that run was before the deployment
    elt(shop)
    assert [key.split()[:2] for key in shop.settle()] == [["promote", "prod"], ["deploy", "prod"]]


def test_a_failed_run_of_the_users_own_job_closes_the_gate(gated):
    shop = gated("{jobs: [staging_elt]}", text=JOBS)
    shop.settle()
    elt(shop)
    elt(shop, failing_elt)
    assert states(shop) == {"evidence": "failed"}


def test_a_job_of_another_code_location_does_not_count_for_the_one_that_is_named(gated):
    shop = gated("{jobs: ['elsewhere:staging_elt']}", text=JOBS)
    shop.settle()
    elt(shop)
    assert states(shop) == {"evidence": "pending"}


def test_a_job_that_ran_while_something_else_was_deployed_proves_neither(gated):
    shop = gated("{jobs: [staging_elt]}", text=JOBS)
    shop.settle()
    shop.shop.dev.commit({"new.yml": "a: 1\n"})

    @dg.op
    def deploys_meanwhile() -> None:
        shop.settle()

    @dg.job(name="staging_elt")
    def long_elt() -> None:
        deploys_meanwhile()

    elt(shop, long_elt)
    assert states(shop) == {"evidence": "pending"}


RETEST = "{tested_tree: retest}"


def test_a_merge_that_nobody_tested_is_run_itself_before_it_lands(gated):
    shop = gated(RETEST)
    shop.settle()
    shop.shop.prod.commit({"hotfix.sql": "select 1\n"}, "Hotfix")
    shop.shop.dev.commit({"new.yml": "a: 1\n"})
    done = [key.split()[0:2] for key in shop.settle()]
    assert ["retest", "prod"] in done
    assert done.index(["retest", "prod"]) < done.index(["promote", "prod"])
    assert {"hotfix.sql", "new.yml"} <= set(shop.shop.prod.files())


def test_a_merge_that_fails_its_test_does_not_land(gated):
    shop = gated(RETEST)
    shop.settle()
    shop.shop.prod.commit({"broken": ""}, "Hotfix")
    before = shop.shop.prod.head
    shop.shop.dev.commit({"new.yml": "a: 1\n"})
    shop.settle()
    assert shop.shop.prod.head == before
    assert states(shop)["tested tree"] == "failed"


# --- decisions --------------------------------------------------------------------------------


def test_a_hold_keeps_production_where_it_is_until_it_is_lifted(gated):
    shop = gated()
    assert decide(shop, "hold", reason="audit").success
    shop.settle()
    assert not shop.shop.prod.head
    assert "ada holds it: audit" in shop.why()
    assert decide(shop, "lift").success
    shop.settle()
    assert shop.shop.prod.head


def test_a_hold_ends_when_it_expires(gated, time):
    shop = gated()
    decide(shop, "hold", expires="2h")
    shop.settle()
    assert states(shop)["hold"] == "pending"
    time.pass_(hours=2, minutes=1)
    shop.settle()
    assert shop.shop.prod.head


def test_two_people_approve_exactly_this_plan(gated):
    shop = gated("{approvals: {quorum: 2, exclude_authors: false}}")
    shop.settle()
    digest = plan_of(shop).digest
    decide(shop, "approve", plan=digest)
    decide(shop, "approve", plan=digest, by="Ada ")
    assert states(shop)["approvals"] == "pending"
    decide(shop, "approve", plan=digest, by="grace")
    shop.settle()
    assert shop.shop.prod.head


def test_an_approval_of_another_plan_or_an_old_one_does_not_count(gated, time):
    shop = gated("{approvals: {expires: 1h, exclude_authors: false}}")
    shop.settle()
    decide(shop, "approve", plan="sha256:" + "0" * 64)
    assert states(shop)["approvals"] == "pending"
    decide(shop, "approve", plan=plan_of(shop).digest)
    assert states(shop)["approvals"] == "passed"
    time.pass_(hours=2)
    assert states(shop)["approvals"] == "pending"
    shop.settle()
    assert not shop.shop.prod.head


def test_a_rejected_tree_stays_rejected_under_any_commit(gated):
    shop = gated("{windows: [{from: 2000-01-01, to: 2000-01-02}]}")
    shop.settle()
    assert decide(shop, "reject", commit=shop.shop.staging.head).success
    shop.shop.dev.commit({}, "The same files")
    shop.settle()
    assert states(shop)["rejected"] == "failed"


def test_a_decision_that_no_run_of_ours_recorded_is_none(gated):
    shop = gated("{approvals: {exclude_authors: false}}")
    shop.settle()
    told = {
        records.DECISION: "approve",
        records.BY: "mallory",
        records.PLAN: plan_of(shop).digest,
    }
    forged = dg.AssetObservation(naming.decisions_key("shop", "prod"), metadata=told)
    shop.instance.report_runless_asset_event(forged)

    @dg.op(name=naming.decide_op("shop"))
    def forge(context):
        context.log_event(forged)

    @dg.job(tags={"dagster/job": "decide_shop"})
    def other() -> None:
        forge()

    other.execute_in_process(instance=shop.instance)
    assert states(shop)["approvals"] == "pending"
    assert shop.instance.fetch_observations(naming.decisions_key("shop", "prod"), limit=5).records


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"decision": "shrug"}, "decision: is unknown"),
        ({"decision": "hold", "reason": ""}, "reason: is empty"),
        ({"decision": "hold", "by": " "}, "by: is empty"),
        ({"decision": "hold", "expires": "soon"}, "expires: is no time"),
        ({"decision": "approve", "plan": "x"}, "plan: is no plan's digest"),
        ({"decision": "reject", "commit": "main"}, "commit: is not a commit on a branch of"),
        ({"decision": "lift", "lifts": "feed"}, "lifts: there is no hold or rejection feed"),
        ({"decision": "hold", "target": "staging"}, "target staging: is no workspace with a gate"),
    ],
)
def test_a_decision_with_a_mistake_is_refused_in_words(gated, config, said):
    shop = gated()
    result = decide(shop, **{"decision": "hold", **config})
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert said in str(failure.step_failure_data.user_failure_data.description)


# --- one tree everywhere ----------------------------------------------------------------------


def test_the_sensor_the_asset_its_check_and_the_command_say_the_same(gated):
    shop = gated("{soak: 1d, approvals: {}}")
    shop.settle()
    found = considered(shop)
    assert isinstance(found, Held)
    tree = lines(found.verdicts)
    assert len(tree) == 4
    why = shop.why()
    assert all(line in why for line in tree)
    key = naming.asset_key("shop", "prod")
    shown = records.shown_gate(shop.instance, key)
    (told,) = shown.values()
    plain = told.value.replace("\\", "").replace(":&#47;/", "://")
    assert [line.strip().removeprefix("- ") for line in plain.splitlines()] == tree


def test_where_a_gate_stands_is_shown_once_and_again_when_it_changes(gated, time):
    shop = gated("{soak: 1d}")
    shop.settle()
    key = naming.asset_key("shop", "prod")
    count = len(shop.instance.fetch_observations(key, limit=100).records)
    for _ in range(3):
        shop.tick("gates_shop")
    assert len(shop.instance.fetch_observations(key, limit=100).records) == count
    time.pass_(days=2)
    shop.settle()
    assert len(shop.instance.fetch_observations(key, limit=100).records) > count


# --- rollback ---------------------------------------------------------------------------------


def test_a_promotion_whose_deployment_fails_is_rolled_back_once_and_its_files_are_rejected(gated):
    shop = gated("{}", "auto_rollback: true")
    shop.settle()
    good = shop.shop.prod.tree()
    shop.shop.dev.commit({"undeployable": ""}, "Cannot be deployed")
    done = [key.split()[:2] for key in shop.settle()]
    assert done.count(["rollback", "prod"]) == 1
    assert shop.shop.prod.tree() == good
    assert done[-1] == ["deploy", "prod"]  # what was brought back is served again
    decisions = InstanceBook(shop.instance).decisions("shop", "prod")
    assert {d.kind for d in decisions} == {DecisionKind.REJECT}
    shop.shop.dev.commit({}, "The same files again")
    assert ["rollback", "prod"] not in [key.split()[:2] for key in shop.settle()]
    assert shop.shop.prod.tree() == good


def test_after_a_lift_the_mended_change_lands(gated):
    shop = gated("{}", "auto_rollback: true")
    shop.settle()
    shop.shop.dev.commit({"undeployable": "", "kept.yml": "a: 1\n"})
    shop.settle()
    shop.shop.dev.commit({"undeployable": None})
    shop.settle()
    assert "rolled back to" in shop.why()
    assert decide(shop, "lift", reason="mended").success
    shop.settle()
    assert shop.shop.prod.tree() == shop.shop.dev.tree()
    assert shop.data_version("shop", "prod", "deployment") == shop.shop.prod.head


def test_a_person_rolls_back_by_a_job(gated):
    shop = gated()
    shop.settle()
    good = shop.shop.prod.tree()
    shop.shop.dev.commit({"new.yml": "a: 1\n"})
    shop.settle()
    job = shop.defs.resolve_job_def("rollback_shop")
    config = {"target": "prod", "by": "ada", "reason": "numbers are off"}
    job.execute_in_process({"ops": {"rollback__shop": {"config": config}}}, instance=shop.instance)
    assert shop.shop.prod.tree() == good
    assert shop.data_version("shop", "prod") == shop.shop.prod.head
    assert [key.split()[:2] for key in shop.settle()] == [["deploy", "prod"]]
    assert "ada holds it: rolled back to" in shop.why()


def test_one_upstream_feeds_several_targets_and_each_asks_its_own_gate(gated):
    text = SHOP + (
        "  eu:\n    repository: eu.git\n    environment: eu\n    upstream: staging\n"
        "    promote: change\n    gate: {soak: 1d}\n"
    )
    shop = gated(text=text)
    from tests.repositories import make_workspace

    eu = make_workspace(shop.shop.root, "eu")
    shop.settle()
    assert shop.shop.prod.head
    assert not eu.head
    assert look_up_all(shop.shop.project)["eu"].commit is None
    assert isinstance(considered(shop, "eu"), Held)
    assert not isinstance(considered(shop, "prod"), Promoted)


# --- every condition, asked by the sensor -----------------------------------------------------


def landed(shop: DagsterShop) -> bool:
    """Let automation do all that is due; say whether production has all of staging."""
    shop.settle()
    return bool(shop.shop.prod.head) and shop.shop.prod.tree() == shop.shop.staging.tree()


def test_a_window_is_waited_for(gated, time: Clock):
    begin = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat(timespec="seconds")
    end = (datetime.now(timezone.utc) + timedelta(hours=2)).isoformat(timespec="seconds")
    shop = gated(f"{{windows: [{{from: '{begin}', to: '{end}'}}]}}")
    assert not landed(shop)
    assert states(shop)["window"] == "pending"
    time.pass_(hours=1)
    assert landed(shop)
    shop.shop.dev.commit({"late.yml": "a: 1\n"})
    time.pass_(hours=1)
    assert not landed(shop)
    assert states(shop)["window"] == "failed"


def test_a_freeze_is_waited_for_and_a_reason_passes_it(gated, time: Clock):
    end = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat(timespec="seconds")
    shop = gated(f"{{freezes: [{{from: 2000-01-01, to: '{end}', reason: closing the books}}]}}")
    assert not landed(shop)
    assert "closing the books" in shop.why()
    assert not shop.materialize("prod").success
    assert shop.materialize("prod", override_gate=True, reason="the auditors asked").success
    shop.shop.dev.commit({"late.yml": "a: 1\n"})
    assert not landed(shop)
    time.pass_(hours=1, minutes=1)
    assert landed(shop)


def test_soak_begins_anew_with_a_failure(gated, time: Clock):
    shop = gated("{soak: 2h}")
    assert not landed(shop)
    time.pass_(hours=1)
    shop.shop.dev.commit({"broken": ""})
    shop.settle()
    shop.shop.dev.commit({"broken": None})
    assert not landed(shop)
    assert states(shop)["soak"] == "pending"
    time.pass_(hours=2, minutes=1)
    assert landed(shop)


def test_what_is_not_well_formed_does_not_land(gated):
    shop = gated("{lint: {}}")
    assert landed(shop)
    shop.shop.dev.commit({"pipeline.yml": "a: 1\na: 2\n"})
    assert not landed(shop)
    assert "pipeline.yml:2 the key a stands here twice (duplicate-key)" in shop.why()
    shop.shop.dev.commit({"pipeline.yml": "a: 1\n"})
    assert landed(shop)


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """Return what writes a module of the user's, and forgets it afterwards."""
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> None:
        (tmp_path / "shop_policy.py").write_text(text)
        sys.modules.pop("shop_policy", None)

    yield write
    sys.modules.pop("shop_policy", None)


def test_a_function_of_the_users_own_is_asked(gated, policy):
    policy(
        "def may_land(plan, evidence, now):\n"
        "    assert evidence and now.tzinfo\n"
        "    if any(change.path == 'secret.yml' for change in plan.changes):\n"
        "        return 'touches secret.yml'\n"
    )
    shop = gated("{predicate: 'shop_policy:may_land'}")
    assert landed(shop)
    shop.shop.dev.commit({"secret.yml": "a: 1\n"})
    assert not landed(shop)
    assert "waits predicate: shop_policy:may_land: touches secret.yml" in shop.why()


def test_a_function_that_raises_keeps_the_gate_closed(gated, policy):
    policy("def may_land(plan, evidence, now):\n    raise ValueError('boom')\n")
    shop = gated("{predicate: 'shop_policy:may_land'}")
    assert not landed(shop)
    assert "closed predicate: shop_policy:may_land: ValueError: boom" in shop.why()


FAN = """\
project: shop
protocols: [file]
workspaces:
  dev: {repository: dev.git, environment: dev}
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: change
    run: {platform: command, command: [sh, run.sh], deadline: 1m}
  other:
    repository: other.git
    environment: other
    upstream: dev
    promote: change
    run: {platform: command, command: [sh, run.sh], deadline: 1m, when: WHEN}
  prod:
    repository: prod.git
    environment: prod
    upstream: [staging, other]
    promote: change
    gate: {environment: staging}
"""


def fan(gated, upstreams: str, when: str) -> DagsterShop:
    from tests.repositories import make_workspace

    shop = gated(f"{{upstreams: {upstreams}}}", text=FAN.replace("WHEN", when))
    make_workspace(shop.shop.root, "other")
    return shop


def test_all_of_several_upstreams_must_have_proved_it(gated):
    shop = fan(gated, "all", "manual")
    assert not landed(shop)
    (verdict,) = [v for v in considered(shop).verdicts if v.condition == "evidence"]
    assert [part.state.value for part in verdict.parts] == ["passed", "pending"]
    shop.run_workspace("other")
    assert landed(shop)


def test_any_of_several_upstreams_is_enough(gated):
    shop = fan(gated, "any", "manual")
    assert landed(shop)


def test_a_signature_is_asked_for_and_a_recorded_yes_is_none(gated, tmp_path):
    import subprocess

    from dataops_dagster import signatures
    from dataops_dagster.git import Access

    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f"ada@example.com {public}")
    shop = gated("{approvals: {allowed_signers: signers}}")
    assert not landed(shop)
    plan = plan_of(shop)
    decide(shop, "approve", plan=plan.digest, by="ada@example.com")
    assert not landed(shop)
    signatures.approve(
        shop.shop.store,
        Access.of(shop.shop.project, shop.shop.project.workspaces["staging"]),
        project="shop",
        target="prod",
        plan=plan.digest,
        commit=plan.upstream_commit,
        key=key,
        name="Ada",
        now=clock.now(),
        expires=None,
        reason="",
    )
    assert landed(shop)


@pytest.mark.parametrize(("rule", "lands"), [("same", False), ("explained", False), ("any", True)])
def test_a_tree_that_nobody_tested_lands_only_where_any_may(gated, rule, lands):
    shop = gated(f"{{tested_tree: {rule}}}")
    shop.settle()
    shop.shop.prod.commit({"own.sql": "select 1\n"}, "Hotfix")
    shop.shop.dev.commit({"new.yml": "a: 1\n"})
    shop.settle()
    assert ("new.yml" in shop.shop.prod.files()) is lands


@pytest.mark.parametrize(("rule", "lands"), [("same", False), ("explained", True)])
def test_what_the_target_owns_is_explained_but_not_the_same(gated, rule, lands):
    shop = gated(f"{{tested_tree: {rule}}}", "keep: [own.sql]")
    shop.settle()
    shop.shop.prod.commit({"own.sql": "select 1\n"}, "Own")
    shop.shop.dev.commit({"new.yml": "a: 1\n"})
    shop.settle()
    assert ("new.yml" in shop.shop.prod.files()) is lands


def test_a_promotion_whose_run_fails_is_rolled_back(gated):
    text = SHOP + "    run: {platform: command, command: [sh, run.sh], deadline: 1m}\n"
    script = PROJECT_FILES["run.sh"] + 'test "$DATAOPS_WORKSPACE" != prod || test ! -e bad\n'
    shop = gated("{}", "auto_rollback: true", text=text)
    shop.shop.dev.commit({"run.sh": script})
    assert landed(shop)
    good = shop.shop.prod.tree()
    shop.shop.dev.commit({"bad": ""})
    assert not landed(shop)
    assert shop.shop.prod.tree() == good
    assert "its run failed, run" in shop.why()


def test_evidence_forged_by_a_tag_by_an_event_or_by_a_step_opens_nothing(gated):
    shop = gated(
        "{environment: staging}",
        text=SHOP.replace("deadline: 1m}\n  prod", "deadline: 1m, when: manual}\n  prod"),
    )
    shop.settle()
    staging = shop.shop.staging
    told = {
        records.COMMIT: staging.head,
        records.TREE: staging.tree(),
        records.ENVIRONMENT: "staging",
    }
    forged = dg.AssetCheckEvaluation(
        asset_key=naming.asset_key("shop", "staging"),
        check_name=naming.RUN_CHECK,
        passed=True,
        metadata={key: dg.MetadataValue.text(value) for key, value in told.items()},
    )
    shop.instance.report_runless_asset_event(forged)
    key, value = naming.run_tag("shop", "staging", staging.head, "staging")

    @dg.op(name=naming.run_op("shop"))
    def forge(context):
        context.log_event(forged)

    @dg.job
    def other() -> None:
        forge()

    other.execute_in_process(instance=shop.instance, tags={key: value}, raise_on_error=False)
    assert states(shop) == {"evidence": "pending"}
    assert not landed(shop)
