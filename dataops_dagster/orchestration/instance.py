"""Dagster's instance for programs that run outside Dagster, such as the command line."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import dagster as dg
from yaml import YAMLError

from dataops_dagster import clock
from dataops_dagster.errors import ConfigError, DataOpsError, ToolError
from dataops_dagster.heads import look_up_all
from dataops_dagster.model import Decision, Evidence
from dataops_dagster.orchestration import naming
from dataops_dagster.orchestration.book import InstanceBook
from dataops_dagster.orchestration.decisions import decide_job
from dataops_dagster.orchestration.deployments import deployed
from dataops_dagster.orchestration.look import Look
from dataops_dagster.orchestration.readiness import Finding, judge, look
from dataops_dagster.orchestration.requests import Due, Observer
from dataops_dagster.settings import Project
from dataops_dagster.store import store_of
from dataops_dagster.text import one_line

_Answer = TypeVar("_Answer")

# What Dagster says of a mistake, without the values that stand there: one may be a password.
_MISTAKE = re.compile(
    r"environment variable \"\w+\" which is not set"
    r"|(?:Received unexpected|Missing required) config entr[^:]*? at (?:path [\w:]+|the root)"
)


@contextlib.contextmanager
def _answering(home: Path) -> Iterator[None]:
    """Turn what Dagster and its storage raise into our errors."""
    where, hint = str(home / "dagster.yaml"), "mend it, or set DAGSTER_HOME to another folder"
    try:
        yield
    except (DataOpsError, dg.Failure):
        raise
    except (dg.DagsterError, YAMLError, OSError, ImportError) as error:
        said = _MISTAKE.search(str(error))
        problem = said[0] if said else (str(error).strip() or repr(error)).splitlines()[0][:300]
        told = f"Dagster cannot use this instance: {problem}"
        raise ConfigError.at(where, told, hint) from None
    except Exception as error:  # noqa: BLE001  # each storage raises its own
        told = one_line(str(error))[:300]
        raise ToolError(
            f"asking Dagster's instance of {home}",
            None,
            told,
            retryable=True,
            hint=f"see that the storage which {where} names is there and answers",
        ) from None


class HomeInstance:
    """The instance that DAGSTER_HOME names, opened when it is first asked."""

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The instance; raises `ConfigError` when there is none."""
        home = Path(os.environ.get("DAGSTER_HOME", ""))
        if not home.is_absolute() or not home.is_dir():
            raise ConfigError.at(
                "DAGSTER_HOME",
                "is not set to an absolute path of a folder, so evidence cannot be looked up",
                "set it to the folder that Dagster's daemon and webserver use",
            )
        with _answering(home):
            return dg.DagsterInstance.get()

    def findings(self, projects: Sequence[Project]) -> list[Finding]:
        """Return how the instance is set up for these projects, and whether it runs."""
        facts = self._ask(lambda instance: look(instance, clock.now()))
        return list(judge(facts, projects))

    def _ask(self, question: Callable[[dg.DagsterInstance], _Answer]) -> _Answer:
        """Ask the instance; raises `ToolError` when its storage does not answer."""
        instance = self.instance
        with _answering(Path(os.environ["DAGSTER_HOME"])):
            return question(instance)

    def find(
        self, project: str, workspace: str, environment: str, commits: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return evidence, as `InstanceBook` does."""
        return self._ask(
            lambda instance: InstanceBook(instance).find(project, workspace, environment, commits)
        )

    def job_runs(
        self, project: str, workspace: str, environment: str, jobs: Sequence[str]
    ) -> Sequence[Evidence]:
        """Return what the user's own jobs say, as `InstanceBook` does."""
        return self._ask(
            lambda instance: InstanceBook(instance).job_runs(project, workspace, environment, jobs)
        )

    def decisions(self, project: str, target: str) -> Sequence[Decision]:
        """Return what was decided, as `InstanceBook` does."""
        return self._ask(lambda instance: InstanceBook(instance).decisions(project, target))

    def decide(self, project: Project, given: Mapping[str, str]) -> None:
        """Record a decision by a run of the job that people may also launch in Dagster.

        Raises `ConfigError` for what the job refuses.
        """
        run_config = {
            "ops": {naming.decide_op(project.name): {"config": dict(given)}},
            # What it has to say is said by us; Dagster's log of it is in the instance.
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        try:
            self._ask(
                lambda instance: decide_job(project).execute_in_process(
                    run_config, instance=instance
                )
            )
        except dg.Failure as failure:
            problem, _, hint = str(failure.description).partition("\n  hint: ")
            where, _, what = problem.partition(": ")
            raise ConfigError.at(where, what, hint) from None

    def deployed(self, project: str, workspace: str) -> str | None:
        """Return the commit that a workspace's platform serves."""
        return self._ask(lambda instance: deployed(instance, project, workspace))

    def due(self, project: Project) -> Due:
        """Return what the sensor would ask for now, and its reasons; asks for nothing."""
        heads = look_up_all(project)
        store = store_of(project)
        now = clock.now()
        return self._ask(
            lambda instance: Observer(Look(project, heads, instance, store, now)).due()
        )
