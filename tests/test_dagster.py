"""A project in Dagster: what its sensors ask for, what its runs do, what its assets say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest

from dataops_dagster import urls
from dataops_dagster.errors import ToolError
from dataops_dagster.model import Override, Promoted
from dataops_dagster.orchestration import deployments, metadata, naming, sensors
from dataops_dagster.orchestration.asking import ATTEMPTS
from dataops_dagster.orchestration.book import InstanceBook
from dataops_dagster.promotion import publish
from dataops_dagster.store import Store
from tests.conftest import NOW, SHOP, Shop, make_shop
from tests.dagster_shop import DagsterShop
from tests.gates import consider_rollback
from tests.repositories import git


@pytest.fixture
def dagster_shop(shop: Shop) -> Iterator[DagsterShop]:
    """A project that was never promoted, seen by an empty Dagster instance."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield DagsterShop(shop, instance)


@pytest.fixture
def in_production(dagster_shop: DagsterShop) -> DagsterShop:
    """The first commit of dev is in production and deployed."""
    dagster_shop.settle()
    return dagster_shop


def started(shop: DagsterShop, request: dg.RunRequest, status=dg.DagsterRunStatus.STARTED):
    """Leave what a sensor asked for as a run in some state."""
    job = shop.defs.resolve_job_def(request.job_name)
    return shop.instance.create_run_for_job(job, tags=request.tags, status=status)


def test_a_change_travels_to_production_by_itself(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    asked = dagster_shop.settle()
    assert [key.split()[:2] for key in asked] == [
        ["promote", "staging"],
        ["run", "staging"],
        ["promote", "prod"],
        ["deploy", "prod"],
    ]
    assert shop.prod.tree() == shop.staging.tree() == shop.dev.tree()
    assert dagster_shop.data_version("shop", "prod") == shop.prod.head
    assert dagster_shop.data_version("shop", "prod", "deployment") == shop.prod.head


def test_a_change_that_fails_in_staging_leaves_production_where_it_was(in_production: DagsterShop):
    shop = in_production.shop
    before = shop.prod.head
    shop.dev.commit({"broken": "", "pipeline.yml": "source: nothing\n"})
    in_production.settle()
    assert "broken" in shop.staging.files()
    assert shop.prod.head == before
    why = in_production.why()
    assert (
        "prod: not yet\n  closed evidence: waits for a successful run of staging in environment staging:"
        f" its run at {shop.staging.head[:12]} failed" in why
    )
    assert "ended with exit code 1" in why


@pytest.mark.slow
def test_a_mended_change_follows_and_takes_the_broken_ones_commits_along(
    in_production: DagsterShop,
):
    shop = in_production.shop
    shop.dev.commit({"broken": ""})
    in_production.settle()
    shop.dev.commit({"broken": None})
    in_production.settle()
    assert shop.prod.tree() == shop.dev.tree()


def test_nothing_is_asked_for_twice_however_often_it_is_looked_at(in_production: DagsterShop):
    runs = in_production.instance.get_runs_count()
    for _ in range(3):
        assert in_production.why().splitlines() == [
            "staging: has all of dev",
            f"staging: its run at {in_production.shop.staging.head[:12]} passed",
            "prod: has all of staging",
            f"prod: serves its head {in_production.shop.prod.head[:12]}",
        ]
        in_production.tick("heads_shop")
    assert in_production.instance.get_runs_count() == runs


def test_while_a_run_is_under_way_no_second_one_is_asked_for(dagster_shop: DagsterShop):
    (request,) = dagster_shop.ask()
    started(dagster_shop, request)
    assert "staging: the promotion of" in dagster_shop.why()
    assert "is under way" in dagster_shop.why()


def test_a_run_that_was_lost_is_asked_for_again_a_few_times_then_a_person_has_to_look(
    dagster_shop: DagsterShop,
):
    keys = set()
    for _ in range(ATTEMPTS):
        (request,) = dagster_shop.ask()
        keys.add(request.run_key)
        started(dagster_shop, request, dg.DagsterRunStatus.FAILURE)
    assert len(keys) == ATTEMPTS  # Dagster launches one run a key, lost or not
    assert f"did not succeed in {ATTEMPTS} runs" in dagster_shop.reasons()


def test_a_run_whose_machine_died_is_not_waited_for_for_ever(dagster_shop: DagsterShop):
    (request,) = dagster_shop.ask()
    started(dagster_shop, request)

    found = dagster_shop.due(datetime.now(timezone.utc) + timedelta(hours=1))
    assert [request.job_name for request in found.requests] == ["promote_shop"]


def test_runs_whose_machines_died_are_asked_for_again_a_few_times_only(dagster_shop: DagsterShop):
    for hours in range(ATTEMPTS):
        (request,) = dagster_shop.due(datetime.now(timezone.utc) + timedelta(hours=hours)).requests
        started(dagster_shop, request)
    found = dagster_shop.due(datetime.now(timezone.utc) + timedelta(hours=ATTEMPTS))
    assert "promote_shop" not in {request.job_name for request in found.requests}
    assert f"did not succeed in {ATTEMPTS} runs" in "\n".join(found.reasons)


def test_the_evidence_names_commit_tree_environment_and_run(in_production: DagsterShop):
    shop = in_production.shop
    (evidence,) = InstanceBook(in_production.instance).find(
        "shop", "staging", "staging", [shop.staging.head]
    )
    run = in_production.instance.get_run_by_id(evidence.run_id)
    assert (evidence.commit, evidence.tree) == (shop.staging.head, shop.staging.tree())
    assert (run.job_name, evidence.ran) == ("run_shop", "sh run.sh")
    check = in_production.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(naming.asset_key("shop", "staging"), "run")]
    )
    assert len(check) == 1  # the same event is what the asset's check shows


def test_a_tag_on_any_other_run_is_no_evidence(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    dagster_shop.launch(dagster_shop.ask()[0])

    @dg.op
    def claim(context):
        context.log_event(
            dg.AssetMaterialization(naming.asset_key("shop", "staging"), metadata={"passed": True})
        )

    @dg.job(name="run_shop")
    def forged():
        claim()

    key, value = naming.run_tag("shop", "staging", shop.staging.head, "staging")
    assert forged.execute_in_process(instance=dagster_shop.instance, tags={key: value}).success
    assert "waits for a successful run of staging" in str(
        dagster_shop.materialize("prod").failure_data_for_node("shop__prod.fetch__shop__prod")
    )


def test_materializing_production_by_hand_asks_the_same_gate(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    dagster_shop.launch(dagster_shop.ask()[0])
    before = shop.prod.head
    result = dagster_shop.materialize("prod")
    assert not result.success
    failure = result.failure_data_for_node("shop__prod.fetch__shop__prod")
    assert "not yet: the gate of prod is closed" in failure.user_failure_data.description
    assert shop.prod.head == before


def test_an_override_needs_a_reason_and_stands_in_the_release(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    dagster_shop.launch(dagster_shop.ask()[0])
    assert not dagster_shop.materialize("prod", override_gate=True).success
    assert dagster_shop.materialize("prod", override_gate=True, reason="incident 42").success
    assert shop.prod.tree() == shop.staging.tree()
    assert dagster_shop.latest("shop", "prod").metadata["dataops/override"].text == "incident 42"
    assert "Override: incident 42" in git(shop.prod.bare, "tag", "-n99")


@pytest.mark.slow
def test_a_promotion_tells_how_long_its_oldest_change_waited(dagster_shop: DagsterShop):
    dagster_shop.materialize("staging")
    shop = dagster_shop.shop
    shop.dev.commit({"one.txt": "1"})
    oldest = int(git(shop.dev.bare, "log", "-1", "--format=%ct"))
    shop.dev.commit({"two.txt": "2"})
    dagster_shop.materialize("staging")
    told = dagster_shop.latest("shop", "staging").metadata
    assert 0 <= told["dataops/lead_seconds"].value <= time.time() - oldest
    assert told["dataops/merge_seconds"].value > 0


def test_a_dry_run_shows_the_plan_and_publishes_nothing(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    before = shop.staging.head
    assert dagster_shop.materialize("staging", dry_run=True).success
    assert (shop.staging.head, shop.staging.tags()) == (before, [])
    assert dagster_shop.latest("shop", "staging") is None
    observed = dagster_shop.instance.fetch_observations(dg.AssetKey(["shop", "staging"]), limit=1)
    told = observed.records[0].event_log_entry.asset_observation.metadata
    assert told["dataops/equality"].text == "same tree"
    assert "pipeline.yml" in told["dataops/changes"].md_str


def test_an_explicit_commit_is_promoted_instead_of_the_newest(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    first = shop.dev.head
    shop.dev.commit({"later.txt": "not yet\n"})
    assert dagster_shop.materialize("staging", commit=first).success
    assert "later.txt" not in shop.staging.files()
    materialization = dagster_shop.latest("shop", "staging")
    assert materialization.tags["dagster/input_data_version/shop/dev"] == first


@pytest.mark.slow
def test_an_asset_whose_target_is_up_to_date_goes_on_to_show_what_landed_last(
    in_production: DagsterShop,
):
    before = git(in_production.shop.prod.bare, "for-each-ref")
    assert in_production.materialize("prod").success
    assert in_production.latest("shop", "prod").metadata["dataops/outcome"].text == "promoted"
    seen = in_production.observed("shop", "prod")
    assert seen.description == "Nothing to do: prod has all of staging."
    assert seen.metadata["dataops/outcome"].text == "nothing to do"
    assert seen.metadata["dataops/release"].text == in_production.shop.prod.tags()[-1]
    assert git(in_production.shop.prod.bare, "for-each-ref") == before


@pytest.mark.slow
def test_what_dagster_does_not_know_of_a_target_is_materialized_though_nothing_is_to_do(
    in_production: DagsterShop,
):
    head = in_production.shop.prod.commit({"by-hand.txt": ""})
    assert in_production.materialize("prod").success
    assert in_production.latest("shop", "prod").metadata["dataops/outcome"].text == "nothing to do"
    assert in_production.data_version("shop", "prod") == head


def test_a_conflict_is_told_by_the_sensor_and_asks_for_no_run(in_production: DagsterShop):
    shop = in_production.shop
    shop.staging.commit({"deploy.sh": None})
    shop.dev.commit({"deploy.sh": "exit 0\n"})
    (request,) = in_production.ask()
    assert request.job_name == "run_shop"  # staging's own new head is run; nothing is promoted
    in_production.launch(request)
    reasons = in_production.tick("gates_shop")
    asked = [request.run_key.split()[:2] for request in reasons.run_requests or []]
    assert ["promote", "staging"] not in asked
    failure = in_production.materialize("staging").failure_data_for_node(
        "shop__staging.fetch__shop__staging"
    )
    assert "cannot be settled for 1 path(s): deploy.sh" in failure.user_failure_data.description


def test_production_is_deployed_once_for_each_promoted_commit(in_production: DagsterShop):
    shop = in_production.shop
    shop.dev.commit({"pipeline.yml": "source: orders\n"})
    keys = in_production.settle()
    assert [key for key in keys if key.startswith("deploy")] == [f"deploy prod {shop.prod.head}"]
    deployments = in_production.instance.fetch_materializations(
        dg.AssetKey(["shop", "prod", "deployment"]), limit=10
    ).records
    assert len(deployments) == 2


@pytest.mark.slow
def test_a_head_that_came_another_way_is_recorded_but_not_deployed(in_production: DagsterShop):
    shop = in_production.shop
    hotfix = shop.prod.commit({"hotfix.txt": "urgent\n"})
    in_production.tick("heads_shop")
    assert in_production.data_version("shop", "prod") == hotfix
    assert f"prod: its head {hotfix[:12]} is not a release" in in_production.why()


@pytest.mark.slow
def test_a_head_that_somebody_set_to_its_upstreams_is_recorded_as_having_all_of_it(
    in_production: DagsterShop,
):
    shop, head = in_production.shop, in_production.shop.staging.head
    git(shop.staging.bare, "push", "--quiet", "--force", str(shop.prod.bare), "main")
    in_production.tick("heads_shop")
    tags = in_production.latest("shop", "prod").tags
    assert tags["dagster/data_version"] == tags["dagster/input_data_version/shop/staging"] == head


def test_a_promotion_whose_run_died_before_it_told_is_recorded_by_the_sensor(
    dagster_shop: DagsterShop,
):
    shop = dagster_shop.shop
    shop.promote("staging")  # pushed, and nothing of it in Dagster
    dagster_shop.tick("heads_shop")
    assert dagster_shop.data_version("shop", "staging") == shop.staging.head
    outcome = dagster_shop.latest("shop", "staging").metadata["dataops/outcome"].text
    assert outcome == f"release {shop.staging.tags()[0]}"


NOT_IN_A_RECORD = ("files_overwritten", "lines_overwritten", "files_kept", "overwrites", "keeps")


@pytest.mark.slow
def test_what_landed_without_a_run_is_recorded_with_all_that_its_release_tells(
    dagster_shop: DagsterShop, tmp_path, monkeypatch
):
    shop = dagster_shop.shop
    monkeypatch.setenv("DATAOPS_CACHE_DIR", str(tmp_path / "of this machine alone"))

    def as_planned(answer: Promoted) -> dict[str, dg.MetadataValue]:
        """See that the newest event says what the plan says; return what it says beside that."""
        dagster_shop.tick("heads_shop")
        told = metadata.of_plan(answer.ready.plan) | metadata.of_release(answer.release)
        wanted = dict(dg.AssetMaterialization("plan", metadata=told).metadata)
        for key in NOT_IN_A_RECORD:
            wanted.pop(f"dataops/{key}", None)
        shown = dagster_shop.latest("shop", answer.ready.plan.target).metadata
        assert {key: shown.get(key) for key in wanted} == wanted
        return {key: shown[key].value for key in shown.keys() - wanted.keys()}

    git(shop.staging.bare, "update-ref", "-d", "refs/heads/main")
    beside = as_planned(shop.promote("staging"))
    assert beside.keys() == {"dataops/outcome", "dataops/lead_seconds"}
    as_planned(shop.promote("prod", override=Override("at first")))
    shop.dev.commit({"new.txt": ""})
    shop.staging.commit({"own.txt": ""})
    as_planned(shop.promote("staging"))
    shop.prove(shop.staging)
    beside = as_planned(shop.promote("prod"))
    assert beside["dataops/gate"].startswith("- evidence passed: ")
    undone = consider_rollback(shop)
    beside = as_planned(publish(shop.project, undone, store=shop.store, now=NOW))
    assert "dataops/lead_seconds" not in beside
    shop.staging.commit({"more.txt": ""})
    as_planned(shop.promote("prod", override=Override("mended")))


def test_a_run_that_finds_its_promotion_landed_and_untold_tells_it(dagster_shop: DagsterShop):
    plan = dagster_shop.shop.promote("staging").ready.plan
    assert dagster_shop.materialize("staging").success
    told = dagster_shop.latest("shop", "staging").metadata
    assert told["dataops/plan"].value == plan.digest
    assert told["dataops/commits"].value == plan.commit_count


def rewrite_record(bare: Path, old: str, new: str) -> None:
    """Put another record in the place of a workspace's only one, as one who may push tags can."""
    tag = git(bare, "tag")
    text = git(bare, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")
    assert old in text
    git(bare, "tag", "--force", "-a", "-m", text.replace(old, new), tag, "main")


def test_a_record_that_does_not_fit_its_commit_is_not_shown(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    shop.promote("staging")
    rewrite_record(shop.staging.bare, "Equality: ", "Equality: same commit, not ")
    dagster_shop.tick("heads_shop")
    told = dagster_shop.latest("shop", "staging").metadata
    assert told.keys() == {"dataops/commit", "dataops/outcome"}


def test_what_a_record_says_of_the_gate_is_inert_and_short(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    shop.promote("staging")
    gate = "Gate: <script>alert(1)</script>" + 2_000 * "x" + "\n"
    rewrite_record(shop.staging.bare, "Time: ", 60 * gate + "Time: ")
    dagster_shop.tick("heads_shop")
    told = dagster_shop.latest("shop", "staging").metadata["dataops/gate"].md_str
    assert told.startswith("- &lt;script&gt;")
    assert len(told) < 60_000


def no_answer(*_) -> None:
    raise ToolError("fetching", None, "no answer")


@pytest.mark.parametrize(
    ("of", "name", "value"), [(Store, "fetch_tags", no_answer), (sensors, "LOOK_SECONDS", -100.0)]
)
def test_what_cannot_be_looked_up_of_a_release_leaves_the_event_that_a_head_moved(
    dagster_shop: DagsterShop, monkeypatch, of, name, value
):
    dagster_shop.shop.promote("staging")
    monkeypatch.setattr(of, name, value)
    dagster_shop.tick("heads_shop")
    told = dagster_shop.latest("shop", "staging").metadata
    assert told.keys() == {"dataops/commit", "dataops/outcome"}


@pytest.mark.slow
def test_whatever_moved_a_head_its_commits_page_is_linked(dagster_shop: DagsterShop, monkeypatch):
    monkeypatch.setattr(urls, "commit_page", lambda _, commit: f"https://github.com/a/b/{commit}")
    shop = dagster_shop.shop

    def linked(event: dg.AssetMaterialization | dg.AssetObservation) -> str:
        return event.metadata["dataops/commit_page"].value.rpartition("/")[2]

    shop.promote("staging")
    dagster_shop.tick("heads_shop")
    assert linked(dagster_shop.observed("shop", "dev")) == shop.dev.head
    assert linked(dagster_shop.latest("shop", "staging")) == shop.staging.head
    for _ in range(2):
        shop.staging.commit({f"{shop.staging.head}.txt": ""})
        assert dagster_shop.materialize("prod", override_gate=True, reason="x").success
        assert linked(dagster_shop.latest("shop", "prod")) == shop.prod.head
    assert dagster_shop.roll_back().success
    rolled_back = dagster_shop.latest("shop", "prod")
    assert linked(rolled_back) == shop.prod.head
    assert rolled_back.metadata["dataops/merge_seconds"].value > 0
    hotfix = shop.prod.commit({"hotfix.txt": ""})
    dagster_shop.tick("heads_shop")
    assert linked(dagster_shop.latest("shop", "prod")) == hotfix


@pytest.mark.slow
def test_a_deployment_that_the_platform_refuses_is_not_tried_again_by_itself(
    dagster_shop: DagsterShop,
):
    shop = dagster_shop.shop
    shop.dev.commit({"undeployable": ""})
    dagster_shop.settle()
    assert dagster_shop.latest("shop", "prod", "deployment") is None
    assert f"the deployment of {shop.prod.head[:12]} failed" in dagster_shop.why()
    shop.dev.commit({"undeployable": None})
    dagster_shop.settle()
    assert dagster_shop.data_version("shop", "prod", "deployment") == shop.prod.head


@pytest.mark.slow
def test_a_run_is_of_the_named_commit_although_the_head_moved_on(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    dagster_shop.launch(dagster_shop.ask()[0])
    tested = shop.staging.head
    shop.staging.commit({"broken": ""})
    assert dagster_shop.run_workspace("staging", commits={"staging": tested}).success
    (evidence,) = InstanceBook(dagster_shop.instance).find(
        "shop", "staging", "staging", [tested, shop.staging.head]
    )
    assert evidence.commit == tested


def test_a_commit_that_nobody_let_into_production_is_not_deployed_there(in_production: DagsterShop):
    shop = in_production.shop
    shop.dev.commit({"broken": ""})
    in_production.settle()
    served = in_production.data_version("shop", "prod", "deployment")
    result = in_production.deploy(commits={"prod": shop.staging.head})
    assert not result.success
    said = result.failure_data_for_node("deploy__shop").user_failure_data.description
    assert f"{shop.staging.head} is not a commit on its branch main" in said
    assert in_production.data_version("shop", "prod", "deployment") == served


@pytest.mark.slow
@pytest.mark.parametrize("commit", ["main", "HEAD", "-x", "", "0" * 40])
def test_what_is_no_commit_is_neither_run_nor_promoted(dagster_shop: DagsterShop, commit: str):
    dagster_shop.launch(dagster_shop.ask()[0])
    for result, node in (
        (dagster_shop.run_workspace("staging", commits={"staging": commit}), "run__shop"),
        (dagster_shop.materialize("prod", commit=commit), "shop__prod.fetch__shop__prod"),
    ):
        assert not result.success
        failure = result.failure_data_for_node(node).user_failure_data
        assert "hint: name the full id of a commit that is on it" in failure.description


def test_a_workspace_that_is_not_there_is_no_silent_default(dagster_shop: DagsterShop):
    result = dagster_shop.run_workspace("staging", commits={"stagin": "0" * 40})
    said = result.failure_data_for_node("run__shop").user_failure_data.description
    assert said == "commits: there is no workspace stagin here\nhint: name staging"


@pytest.mark.slow
def test_a_deployment_is_repeated_only_when_a_person_asks(in_production: DagsterShop):
    def count() -> int:
        key = dg.AssetKey(["shop", "prod", "deployment"])
        records_ = in_production.instance.fetch_materializations(key, limit=10).records
        outcomes = [r.event_log_entry.asset_materialization.metadata for r in records_]
        return sum(told["dataops/outcome"].text == "deployed" for told in outcomes)

    assert in_production.deploy().success
    assert count() == 1
    assert in_production.deploy(redeploy=True).success
    assert count() == 2


@pytest.mark.slow
def test_a_workspace_is_run_once_at_a_time_also_when_its_head_moves_on(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    dagster_shop.launch(dagster_shop.ask()[0])
    (run,) = dagster_shop.ask()
    started(dagster_shop, run)
    shop.dev.commit({"pipeline.yml": "source: orders\n"})
    dagster_shop.launch(dagster_shop.ask()[0])
    assert "staging: another like it is under way" in dagster_shop.why()


@pytest.mark.slow
def test_what_a_person_canceled_is_not_asked_for_again(dagster_shop: DagsterShop):
    dagster_shop.launch(dagster_shop.ask()[0])
    (run,) = dagster_shop.ask()
    started(dagster_shop, run, dg.DagsterRunStatus.CANCELED)
    assert f"staging: the run at {dagster_shop.shop.staging.head[:12]} was canceled" in (
        dagster_shop.why()
    )


@pytest.mark.slow
def test_an_older_commit_that_a_person_deployed_stays(in_production: DagsterShop):
    shop = in_production.shop
    old = shop.prod.head
    shop.dev.commit({"pipeline.yml": "source: orders\n"})
    in_production.settle()
    assert in_production.deploy(commits={"prod": old}).success
    assert in_production.data_version("shop", "prod", "deployment") == old
    assert "another commit deployed by hand since" in in_production.why()


def test_a_deployment_is_believed_from_our_own_op_only(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    for _ in range(3):
        dagster_shop.launch(dagster_shop.ask()[0])
    (deploy,) = dagster_shop.ask()
    assert deploy.job_name == "deploy_shop"
    claim_ = dg.AssetMaterialization(
        naming.deployment_key("shop", "prod"), metadata={"dataops/commit": shop.prod.head}
    )

    @dg.op
    def claim(context):
        context.log_event(claim_)

    @dg.job
    def forged():
        claim()

    forged.execute_in_process(instance=dagster_shop.instance)
    dagster_shop.instance.report_runless_asset_event(claim_)
    assert deployments.deployed(dagster_shop.instance, "shop", "prod") is None
    dagster_shop.launch(deploy)
    dagster_shop.instance.report_runless_asset_event(claim_)
    assert deployments.deployed(dagster_shop.instance, "shop", "prod") == shop.prod.head


@pytest.mark.slow
def test_a_green_run_counts_although_another_step_of_its_dagster_run_failed(
    dagster_shop: DagsterShop,
):
    shop = dagster_shop.shop
    job = dagster_shop.defs.get_implicit_global_asset_job_def()
    keys = {dg.AssetKey(["shop", name]) for name in ("staging", "prod")}
    everything = job.get_subset(asset_selection=keys)
    everything.execute_in_process(instance=dagster_shop.instance, raise_on_error=False)
    (evidence,) = InstanceBook(dagster_shop.instance).find(
        "shop", "staging", "staging", [shop.staging.head]
    )
    assert evidence.outcome.value == "passed"


@pytest.mark.slow
def test_a_deleted_run_does_not_jam_the_next_request(dagster_shop: DagsterShop):
    keys = set()
    for _ in range(2):
        (request,) = dagster_shop.ask()
        keys.add(request.run_key)
        run = started(dagster_shop, request, dg.DagsterRunStatus.FAILURE)
    dagster_shop.instance.delete_run(run.run_id)
    dagster_shop.seen_keys.discard(request.run_key)
    (again,) = dagster_shop.ask()
    assert again.run_key not in keys - {request.run_key}


def test_a_dry_run_of_an_older_commit_leaves_the_source_where_it_is(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    old = shop.dev.head
    head = shop.dev.commit({"later.txt": "x\n"})
    assert dagster_shop.materialize("staging", commit=old, dry_run=True).success
    observed = dagster_shop.instance.fetch_observations(dg.AssetKey(["shop", "dev"]), limit=1)
    assert (
        observed.records[0].event_log_entry.asset_observation.tags["dagster/data_version"] == head
    )


@pytest.mark.slow
def test_a_server_that_does_not_answer_spoils_only_its_own_workspaces(in_production: DagsterShop):
    shop = in_production.shop
    shop.dev.bare.rename(shop.root / "moved.git")
    why = in_production.why()
    assert "staging: could not find out: git upload-pack for workspaces.dev" in why
    assert "prod: has all of staging" in why
    heads = in_production.tick("heads_shop")
    assert "workspaces.dev" in heads.skip_reason.skip_message


def test_hostile_commit_messages_are_inert_in_metadata(dagster_shop: DagsterShop):
    shop = dagster_shop.shop
    shop.dev.commit(
        {"a|b.md": "x\n"}, "<script>alert(1)</script> ![x](https://evil) | \x1b[31m\u202egnp.exe"
    )
    dagster_shop.launch(dagster_shop.ask()[0])
    told = dagster_shop.latest("shop", "staging").metadata["dataops/commit_list"].md_str
    assert "<script>" not in told
    assert "![x](" not in told
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_loading_touches_no_repository(tmp_path):
    make_shop(tmp_path)
    for workspace in ("dev", "staging", "prod"):
        (tmp_path / f"{workspace}.git").rename(tmp_path / f"away-{workspace}.git")
    (tmp_path / "cache").mkdir(exist_ok=True)
    from dataops_dagster import build_dataops_definitions

    dg.Definitions.validate_loadable(build_dataops_definitions(tmp_path / "dataops.yaml"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_every_asset_of_a_workspace_has_its_owners_and_tags(tmp_path):
    owned = "    owners: [team:oncall]\n    tags: {tier: gold}\n"
    text = f"{SHOP}{owned}owners: [team:data]\ntags: {{tier: iron, domain: sales}}\n"
    graph = DagsterShop(make_shop(tmp_path, text), None).defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        is_prod = key.path[1] == "prod"
        assert graph.get(key).owners == ["team:oncall" if is_prod else "team:data"]
        tags = {"tier": "gold" if is_prod else "iron", "domain": "sales"}
        assert tags.items() <= graph.get(key).tags.items()


@pytest.mark.parametrize("page", ["", "https://github.com/acme/"])
def test_a_workspace_that_is_never_deployed_says_which_workspace_at_tinybird_it_is(tmp_path, page):
    host = "https://api.example.com"
    tinybird = f'{{host: "{host}", workspace: staging_acme, token_variable: TB}}'
    text = SHOP.replace("  prod:\n", f"    tinybird: {tinybird}\n  prod:\n")
    text = text.replace("staging.git", f"{page}staging.git").replace("[file]", "[file, https]")
    graph = DagsterShop(make_shop(tmp_path, text), None).defs.resolve_asset_graph()
    told = graph.get(naming.asset_key("shop", "staging")).metadata
    assert told["dataops/platform_workspace"] == f"staging_acme at {host} (forward)"
    assert ("dagster/code_references" in told) == bool(page)
    told = graph.get(naming.asset_key("shop", "prod")).metadata
    assert "dataops/platform_workspace" not in told


@pytest.mark.slow
def test_what_a_step_produces_is_materialized_when_it_has_succeeded(tmp_path):
    text = SHOP.replace("[sh, run.sh]", "[sh, run.sh], produces: [staging/orders]")
    text = text.replace("[sh, deploy.sh]", "[sh, deploy.sh], produces: [served]")
    shop = make_shop(tmp_path, text + "    owners: [team:oncall]\n")
    shop.dev.commit({"run.sh": "test ! -e broken\n", "deploy.sh": ""})
    shop.staging.commit({"README.md": ""})
    with dg.DagsterInstance.ephemeral() as instance:
        dagster_shop = DagsterShop(shop, instance)
        node = dagster_shop.defs.resolve_asset_graph().get(dg.AssetKey("served"))
        assert (node.parent_keys, node.owners) == (
            {naming.asset_key("shop", "prod")},
            ["team:oncall"],
        )
        dagster_shop.settle()
        run, head = dagster_shop.latest("staging", "orders"), shop.staging.head
        assert run.metadata["dataops/commit"].text == head
        assert dagster_shop.latest("served").metadata["dataops/commit"].text == shop.prod.head
        shop.dev.commit({"broken": ""})
        dagster_shop.settle()
        assert shop.staging.head != head
        assert dagster_shop.latest("staging", "orders").metadata["dataops/commit"].text == head


def test_what_is_known_of_a_target_hangs_on_it_in_the_graph(tmp_path):
    graph = DagsterShop(make_shop(tmp_path), None).defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.parent_keys or node.child_keys, f"{key} stands alone"


def test_materialize_in_the_ui_uses_one_process_where_nothing_but_ours_is_loaded(
    tmp_path, monkeypatch
):
    from dataops_dagster import build_dataops_definitions
    from dataops_dagster.orchestration.definitions import defs

    make_shop(tmp_path)
    monkeypatch.setenv("DATAOPS_CONFIG", str(tmp_path / "dataops.yaml"))
    job = defs().get_repository_def().get_job(naming.ALL_ASSETS_JOB)
    assert job.executor_def is dg.in_process_executor
    assert (
        build_dataops_definitions(tmp_path / "dataops.yaml").executor is None
    )  # the user's choice


def test_sensors_are_off_unless_the_configuration_switches_them_on(tmp_path):
    from dataops_dagster import build_dataops_definitions

    make_shop(tmp_path)
    quiet = build_dataops_definitions(tmp_path / "dataops.yaml")
    (tmp_path / "dataops.yaml").write_text(SHOP + "automation: {enabled: true, interval: 5s}\n")
    busy = build_dataops_definitions(tmp_path / "dataops.yaml")
    for name in ("heads_shop", "gates_shop"):
        assert quiet.get_sensor_def(name).default_status is dg.DefaultSensorStatus.STOPPED
        assert busy.get_sensor_def(name).default_status is dg.DefaultSensorStatus.RUNNING
        assert busy.get_sensor_def(name).minimum_interval_seconds == 4


def test_a_project_has_two_sensors_and_one_job_a_verb_however_many_workspaces(tmp_path):
    make_shop(tmp_path)
    from dataops_dagster import build_dataops_definitions

    defs = build_dataops_definitions(tmp_path / "dataops.yaml")
    repository = defs.get_repository_def()
    assert sorted(sensor.name for sensor in repository.sensor_defs) == ["gates_shop", "heads_shop"]
    jobs = {job.name for job in repository.get_all_jobs()}
    assert jobs - {"__ASSET_JOB"} == {
        *("promote_shop", "run_shop", "deploy_shop", "decide_shop", "rollback_shop")
    }


@pytest.mark.slow
def test_a_scheduled_promotion_asks_the_gate_when_its_time_comes(tmp_path):
    shop = make_shop(
        tmp_path, SHOP.replace("promote: change\n    gate", 'promote: "0 6 * * 1-5"\n    gate')
    )
    shop.dev.commit({"run.sh": "true\n", "deploy.sh": "true\n"})
    shop.staging.commit({"README.md": "# staging\n"})
    with dg.instance_for_test() as instance:
        dagster_shop = DagsterShop(shop, instance)
        dagster_shop.settle()
        assert shop.prod.head == ""  # proven, and its time has not come
        schedule = dagster_shop.defs.get_schedule_def("promote_shop__prod")
        with dg.build_schedule_context(instance=instance) as context:
            found = schedule.evaluate_tick(context)
        dagster_shop.launch(found.run_requests[0]._replace(job_name="promote_shop"))
        assert shop.prod.head == shop.staging.head
        with dg.build_schedule_context(instance=instance) as context:
            assert schedule.evaluate_tick(context).skip_message == "prod: has all of staging"


@pytest.mark.slow
def test_a_scheduled_run_happens_although_the_head_was_run_before(tmp_path):
    shop = make_shop(
        tmp_path, SHOP.replace("deadline: 1m}\n  prod", 'deadline: 1m, when: "0 3 * * *"}\n  prod')
    )
    shop.dev.commit({"run.sh": "true\n"})
    with dg.instance_for_test() as instance:
        dagster_shop = DagsterShop(shop, instance)
        dagster_shop.settle()
        schedule = dagster_shop.defs.get_schedule_def("run_shop__staging")
        for _ in range(2):
            with dg.build_schedule_context(instance=instance) as context:
                (request,) = schedule.evaluate_tick(context).run_requests
            assert dagster_shop.launch(request._replace(job_name="run_shop")).success
        found = InstanceBook(instance).find("shop", "staging", "staging", [shop.staging.head])
        assert len(found) == 2
