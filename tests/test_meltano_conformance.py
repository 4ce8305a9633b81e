"""Our answers are those of the real Meltano: for projects made by hand, and for made-up ones."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.printed import Part
from dataops_dagster.meltano.project import load
from dataops_dagster.meltano.resolving import Secrets
from tests.meltano_cases import AUTH0, CASES, Case
from tests.meltano_oracle import Oracle, Question, oracle, ours
from tests.meltano_projects import projects
from tests.meltano_teams import TEAMS, VARIABLES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("meltano")]


@pytest.fixture(scope="module")
def real(meltano_command: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    """Meltano's own code, loaded once."""
    with oracle(meltano_command, tmp_path_factory.mktemp("oracle")) as started:
        yield started


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
@pytest.mark.parametrize("secrets", list(Secrets), ids=lambda secrets: secrets.value)
def test_every_answer_is_that_of_the_real_meltano(case: Case, secrets: Secrets, real: Oracle):
    assert real.compare(case.files, case.variables, secrets=secrets) == []


@pytest.mark.parametrize("name", TEAMS)
@pytest.mark.parametrize("secrets", list(Secrets), ids=lambda secrets: secrets.value)
@pytest.mark.parametrize("variables", [VARIABLES, {}], ids=["with", "without"])
def test_every_answer_about_a_team_s_project_is_that_of_the_real_meltano(
    name: str, secrets: Secrets, variables: dict[str, str], real: Oracle
):
    assert real.compare(TEAMS[name], variables, secrets=secrets) == []


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(project=projects())
def test_every_answer_about_made_up_projects_is_that_of_the_real_meltano(project, real: Oracle):
    files, variables = project
    assert real.compare(files, variables) == []


@pytest.mark.parametrize("environment", [None, "dev", "staging", "prod", "missing"])
def test_the_real_command_prints_the_same(
    environment: str | None, meltano_command: str, real: Oracle
):
    root, env = real.write(AUTH0), real.env({})
    project = load(GivenFiles(AUTH0))
    plugin = project.plugins[0]
    for part in Part:
        question = Question(plugin, environment, part)
        done = subprocess.run(
            [meltano_command, *question.arguments],
            cwd=root,
            env=env,
            capture_output=True,
            check=False,
        )
        our = ours(project, question, {**env, "MELTANO_PROJECT_ROOT": str(root)}, {})
        if done.returncode:
            assert not isinstance(our, str)
        else:
            assert our == done.stdout.decode().rstrip("\n")


def test_a_wrong_answer_of_ours_would_be_found(real: Oracle):
    class Forgetful(dict):
        """Files whose `.env` Meltano sees, and we do not."""

        def get(self, name, default=None):
            return default if name == ".env" else super().get(name, default)

    files = Forgetful({**AUTH0, ".env": "TAP_AUTH0_DOMAIN=elsewhere\n"})
    found = real.compare(files)
    assert len(found) == 4
    assert "elsewhere" in found[0]
