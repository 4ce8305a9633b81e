"""Dagster in several processes that share nothing but a database, as on several machines."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataops_dagster.demo import daemon
from tests.telling import unused_port, wait_for

EXAMPLES = Path(__file__).parent.parent / "examples"

LAUNCH = """
mutation ($selector: JobOrPipelineSelector!, $config: RunConfigData, $tags: [ExecutionTag!]) {
  launchRun(executionParams: {
    selector: $selector, runConfigData: $config, executionMetadata: {tags: $tags}
  }) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
  }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status startTime endTime } } }"
START = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on Sensor { id } }
}
"""
STOP = "mutation ($id: String) { stopSensor(id: $id) { __typename } }"
# The code locations, and a look at each part of the storage: after the database was away, the
# first use of a connection that the webserver kept is an error.
LOADED = """
{
  workspaceOrError { ... on Workspace { locationEntries {
    name locationOrLoadError {
      __typename ... on RepositoryLocation { repositories { sensors { sensorState { status } } } }
    } } } }
  runsOrError(limit: 1) { __typename }
  assetsOrError(limit: 1) { __typename }
}
"""


@dataclass
class Machine:
    """A folder that stands for a machine: all that its process may keep on a disk is in there."""

    folder: Path
    variables: Mapping[str, str]
    processes: ExitStack = field(default_factory=ExitStack)

    def start(self, *command: str, files: Mapping[str, str]) -> None:
        """Start a process of Dagster on a machine that has nothing but these files."""
        for name in ("home", "dagster", "tmp"):
            (self.folder / name).mkdir(parents=True)
        for name, text in files.items():
            (self.folder / name).write_text(text)
        program, *arguments = command
        self.processes.enter_context(
            daemon.running(
                daemon.program(program), *arguments, env=self.environment, log=self.folder / "log"
            )
        )

    def lose(self) -> None:
        """End the process, and lose the disk with all that was on it."""
        self.processes.close()
        shutil.rmtree(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        own = {"HOME": "home", "DAGSTER_HOME": "dagster", "TMPDIR": "tmp"}
        own |= {"DATAOPS_CACHE_DIR": "cache", "DATAOPS_STATE_DIR": "state"}
        own |= {"DATAOPS_CONFIG": "dataops.yaml"}
        own = {name: str(self.folder / where) for name, where in own.items()}
        return {**own, **self.variables, "PYTHONDONTWRITEBYTECODE": ""}


@dataclass
class Deployment:
    """One of the examples: a webserver, a daemon, code locations of one project, perhaps a worker."""

    folder: Path
    variables: Mapping[str, str]
    project: str
    locations: Mapping[str, int]
    example: str = "production"
    port: int = field(default_factory=unused_port)
    machines: dict[str, Machine] = field(default_factory=dict)

    def start(self, name: str) -> Machine:
        """Start a part on a machine of its own, as docs/production.md says."""
        machine = Machine(self.folder / name, self.variables)
        files = {"dagster/dagster.yaml": (EXAMPLES / self.example / "dagster.yaml").read_text()}
        if name in self.locations or name == "worker":
            files["dataops.yaml"] = self.project
        else:
            files["workspace.yaml"] = self._workspace()
        self.machines[name] = machine
        machine.start(*self._command(name), files=files)
        return machine

    def _command(self, name: str) -> tuple[str, ...]:
        listen = ("-h", "127.0.0.1", "-p")
        if name in self.locations:
            port = str(self.locations[name])
            return ("dagster", "api", "grpc", "-m", daemon.DEFINITIONS, *listen, port)
        return {
            "webserver": ("dagster-webserver", "-w", "workspace.yaml", *listen, str(self.port)),
            "daemon": ("dagster-daemon", "run", "-w", "workspace.yaml"),
            "worker": ("celery", "-A", "dagster_celery.app", "worker", "-Q", "dagster", "-c", "1"),
        }[name]

    def _workspace(self) -> str:
        """Return the example's workspace.yaml with each code location of ours in place of its one."""
        shown = yaml.safe_load((EXAMPLES / "production" / "workspace.yaml").read_text())
        (entry,) = shown["load_from"]
        told = [
            {"grpc_server": {**entry["grpc_server"], "location_name": name, "port": port}}
            for name, port in self.locations.items()
        ]
        return yaml.safe_dump({"load_from": told})

    # --- what a person does in the UI -------------------------------------------------------------

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the webserver, as its own pages do; returns None while it does not answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                told = json.load(response)
        except OSError as e:
            print("The webserver:", e, e.read() if isinstance(e, urllib.error.HTTPError) else "")
            return None
        assert "errors" not in told, told
        return next(iter(told["data"].values()))

    def loaded(self) -> bool:
        """Say whether the webserver has all code locations."""
        entries = (self.ask(LOADED) or {}).get("locationEntries", [])
        kinds = {e["name"]: (e["locationOrLoadError"] or {}).get("__typename") for e in entries}
        return kinds == dict.fromkeys(self.locations, "RepositoryLocation")

    def launch(self, location: str, job: str, **more: Any) -> str:
        """Launch a job in a code location; returns the run."""
        selector = {
            "repositoryLocationName": location,
            "repositoryName": "__repository__",
            "jobName": job,
            **more.get("selection", {}),
        }
        tags = [{"key": key, "value": value} for key, value in more.get("tags", {}).items()]
        wait_for("the webserver", self.loaded)

        def launched() -> Any:
            """Launch; None while the webserver has not yet found a machine that is there again."""
            answer = self.ask(LAUNCH, selector=selector, config=more.get("config", {}), tags=tags)
            lost = answer is None or "Could not reach user code" in answer.get("message", "")
            return None if lost else answer

        answer = wait_for(f"the code location {location}", launched)
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    @contextmanager
    def automatic(self, location: str) -> Iterator[None]:
        """Switch a code location's sensors on for a block."""
        wait_for("the webserver", self.loaded)
        ids = []
        for name in ("gates_shop", "heads_shop"):
            selector = {
                "repositoryLocationName": location,
                "repositoryName": "__repository__",
                "sensorName": name,
            }
            ids.append(self.ask(START, selector=selector)["id"])
        yield
        for id_ in ids:
            assert self.ask(STOP, id=id_)["__typename"] == "StopSensorMutationResult"

    def promote(self, location: str, target: str) -> str:
        selection = {"assetSelection": [{"path": ["shop", target]}], "assetCheckSelection": []}
        return self.launch(location, "promote_shop", selection=selection)

    def run(self, location: str, workspace: str, **more: Any) -> str:
        check = {"assetKey": {"path": ["shop", workspace]}, "name": "run"}
        selection = {"assetSelection": [], "assetCheckSelection": [check]}
        return self.launch(location, "run_shop", selection=selection, **more)

    def deploy(self, location: str, workspace: str) -> str:
        selection = {"assetSelection": [{"path": ["shop", workspace, "deployment"]}]}
        return self.launch(location, "deploy_shop", selection=selection)

    def status(self, run: str) -> dict[str, Any]:
        return self.ask(STATUS, id=run) or {"status": "NOT ANSWERED"}

    def end_of(self, *runs: str) -> list[dict[str, Any]]:
        """Wait for the ends of runs; returns what is told of each."""
        ended = ("SUCCESS", "FAILURE", "CANCELED")

        def look() -> Sequence[dict[str, Any]] | None:
            told = [self.status(run) for run in runs]
            return told if all(one["status"] in ended for one in told) else None

        return list(wait_for(f"the end of {runs}", look))


@contextmanager
def running(deployment: Deployment, *names: str) -> Iterator[Deployment]:
    """Start the code locations and these parts; afterwards none of them is left."""
    with ExitStack() as stack:
        for name in (*deployment.locations, *names):
            stack.callback(lambda name=name: deployment.machines[name].processes.close())
            deployment.start(name)
        wait_for("the webserver", deployment.loaded)
        yield deployment
