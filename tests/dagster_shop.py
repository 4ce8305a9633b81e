"""The shop with a real Dagster instance: sensors are evaluated, and what they ask for is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property

import dagster as dg

from dataops_dagster import build_dataops_definitions
from dataops_dagster.heads import look_up_all
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.look import Look
from dataops_dagster.orchestration.requests import Due, Observer
from tests.conftest import Shop


@dataclass
class DagsterShop:
    """The shop's definitions on an instance of their own; no daemon, so time is the test's."""

    shop: Shop
    instance: dg.DagsterInstance
    seen_keys: set[str] = field(default_factory=set)

    @cached_property
    def defs(self) -> dg.Definitions:
        return build_dataops_definitions(self.shop.root / "dataops.yaml")

    def tick(self, sensor: str) -> dg.SensorResult:
        """Evaluate a sensor once, as the daemon does."""
        definition = self.defs.get_sensor_def(sensor)
        with dg.build_sensor_context(instance=self.instance, definitions=self.defs) as context:
            result = definition(context)
        for event in result.asset_events or []:
            self.instance.report_runless_asset_event(event)
        return result

    def ask(self) -> list[dg.RunRequest]:
        """Return the requests of the gates sensor whose run keys Dagster has not seen yet."""
        requests = self.tick("gates_shop").run_requests or []
        fresh = [request for request in requests if request.run_key not in self.seen_keys]
        self.seen_keys |= {request.run_key for request in fresh}
        return fresh

    def why(self) -> str:
        """Return what the gates sensor says when it asks for nothing."""
        result = self.tick("gates_shop")
        assert not result.run_requests, [request.run_key for request in result.run_requests]
        return result.skip_reason.skip_message

    def reasons(self) -> str:
        """Return what the gates sensor logs beside its requests."""
        return "\n".join(self.due(datetime.now(timezone.utc)).reasons)

    def due(self, now: datetime) -> Due:
        """Return what is due at a moment, to one who remembers nothing."""
        shop = self.shop
        heads = look_up_all(shop.project)
        return Observer(Look(shop.project, heads, self.instance, shop.store, now)).due()

    def launch(self, request: dg.RunRequest, **more) -> dg.ExecuteInProcessResult:
        """Run what a sensor asked for."""
        job = self.defs.resolve_job_def(request.job_name)
        checks = request.asset_check_keys
        if request.asset_selection is not None:
            job = job.get_subset(
                asset_selection=set(request.asset_selection) or None,
                asset_check_selection=None if checks is None else set(checks),
            )
        return job.execute_in_process(
            instance=self.instance,
            run_config=request.run_config,
            tags=request.tags,
            raise_on_error=False,
            **more,
        )

    def settle(self) -> list[str]:
        """Tick and run until nothing is due; returns the run keys in their order."""
        done = []
        for _ in range(20):
            requests = self.ask()
            if not requests:
                return done
            for request in requests:
                self.launch(request)
                done.append(request.run_key)
        raise AssertionError(f"never settles: {done}")

    def materialize(self, workspace: str, **config) -> dg.ExecuteInProcessResult:
        """Press Materialize on a target in the UI, perhaps with a configuration."""
        key = dg.AssetKey(["shop", workspace])
        run_config = {
            "ops": {
                f"shop__{workspace}": {"ops": {f"fetch__shop__{workspace}": {"config": config}}}
            }
        }
        return self.launch(
            dg.RunRequest(
                job_name="promote_shop",
                asset_selection=[key],
                asset_check_keys=[],
                run_config=run_config,
            )
        )

    def run_workspace(self, workspace: str, **config) -> dg.ExecuteInProcessResult:
        """Launch the run job for one workspace by hand."""
        check = dg.AssetCheckKey(dg.AssetKey(["shop", workspace]), "run")
        return self.launch(
            dg.RunRequest(
                job_name="run_shop",
                asset_selection=[],
                asset_check_keys=[check],
                run_config={"ops": {"run__shop": {"config": config}}},
            )
        )

    def execute(self, key: dg.AssetCheckKey) -> dg.ExecuteInProcessResult:
        """Press Execute on a check."""
        job = naming.ALL_ASSETS_JOB
        return self.launch(dg.RunRequest(job_name=job, asset_selection=[], asset_check_keys=[key]))

    def look(self, workspace: str, check: str) -> dg.AssetCheckEvaluation:
        """Return what a workspace's check says now."""
        done = self.execute(dg.AssetCheckKey(dg.AssetKey(["shop", workspace]), check))
        assert done.success
        (found,) = done.get_asset_check_evaluations()
        return found

    def deploy(self, **config) -> dg.ExecuteInProcessResult:
        """Launch the deploy job for production by hand."""
        return self.launch(
            dg.RunRequest(
                job_name="deploy_shop",
                asset_selection=[dg.AssetKey(["shop", "prod", "deployment"])],
                run_config={"ops": {"deploy__shop": {"config": config}}},
            )
        )

    def latest(self, *key: str) -> dg.AssetMaterialization | None:
        found = self.instance.fetch_materializations(dg.AssetKey(list(key)), limit=1).records
        return found[0].event_log_entry.asset_materialization if found else None

    def data_version(self, *key: str) -> str | None:
        latest = self.latest(*key)
        return latest and latest.tags["dagster/data_version"]

    def roll_back(self) -> dg.ExecuteInProcessResult:
        """Launch the rollback of production to the release before its last."""
        told = {"target": "prod", "by": "ada", "reason": "numbers are off"}
        config = {"ops": {"rollback__shop": {"config": told}}}
        return self.launch(dg.RunRequest(job_name="rollback_shop", run_config=config))

    def observed(self, *key: str) -> dg.AssetObservation:
        """Return the newest observation of an asset."""
        (record,) = self.instance.fetch_observations(dg.AssetKey(list(key)), limit=1).records
        return record.event_log_entry.asset_observation
