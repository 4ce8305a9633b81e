"""The acts that start the real Meltano and the real `tb`; the sweep strikes at their calls only."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataops_dagster import demo
from dataops_dagster.demo import meltano
from dataops_dagster.testing.tinybird import Dialect, StandIn
from tests.repositories import Files
from tests.sweep.cases import Case, Wrong
from tests.sweep.worlds import World
from tests.tinybird import PROJECT, tb_command

_MELTANO = Path(demo.__file__).parent / "project"
_BY_MELTANO = """\
project: shop
protocols: [file]
workspaces:
  dev: {{repository: dev.git, environment: dev}}
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: manual
    run: {{platform: meltano, run: [load-users], executable: {shims}/meltano, deadline: 1m}}
  prod: {{repository: prod.git, environment: prod, upstream: staging, promote: manual}}
"""
_TO_TINYBIRD = """\
project: shop
protocols: [file]
workspaces:
  dev: {{repository: dev.git, environment: dev}}
  staging:
    repository: staging.git
    environment: staging
    upstream: dev
    promote: manual
    tinybird:
      host: {host}
      workspace: staging_acme
      token_variable: TB_STAGING_TOKEN
      executable: {shims}/tb
      production: false
      destructive: allowed
    deploy: {{platform: tinybird, deadline: 2m, when: manual}}
"""


def _files_of(folder: Path, prefix: str = "") -> Files:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {prefix + str(path.relative_to(folder)): path.read_bytes() for path in files}


def _add(world: World, name: str, real: str) -> None:
    shutil.copy(world.shims / "git", world.shims / name)
    (world.shims / f"{name}.real").write_text(f"{real}\n")


def _promoted(world: World, folder: Path) -> None:
    world.workspace("dev").commit(_files_of(folder), "Add the project")
    ended = world.act("promote staging")
    assert ended.code == 0, ended.said


def with_meltano(world: World) -> None:
    """A Meltano project is in staging, and waits for its run."""
    world.act("tell")
    _add(world, "meltano", meltano.command(print))
    _promoted(world, _MELTANO)
    (world.root / "dataops.yaml").write_text(_BY_MELTANO.format(shims=world.shims))


def with_tinybird(world: World) -> None:
    """A data project is in staging, and nothing is at Tinybird."""
    _add(world, "tb", tb_command(Dialect.FORWARD))
    _promoted(world, PROJECT)


@contextmanager
def at_tinybird(world: World) -> Iterator[Wrong]:
    """An empty workspace at a stand-in for Tinybird, for one attempt and the next."""
    with StandIn() as stand_in:
        workspace = stand_in.create_workspace("staging_acme", Dialect.FORWARD)
        world.variables["TB_STAGING_TOKEN"] = workspace.token
        told = _TO_TINYBIRD.format(shims=world.shims, host=stand_in.url)
        (world.root / "dataops.yaml").write_text(told)
        wanted = {path.stem for s in ("pipe", "datasource") for path in PROJECT.rglob(f"*.{s}")}

        def wrong() -> Iterator[str]:
            if set(workspace.resources) != wanted:
                yield f"Tinybird serves {sorted(workspace.resources)} instead of {sorted(wanted)}"
            for deployment in workspace.deployments:
                if not deployment.live and deployment.status not in ("failed", "deleted"):
                    yield f"deployment {deployment.id} is left, {deployment.status}"

        yield wrong


TOOL_CASES = (
    Case("run by Meltano", with_meltano, "tick", "settle", program="meltano"),
    Case(
        *("deploy by tb", with_tinybird, "deploy at Tinybird", "deploy at Tinybird"),
        program="tb",
        around=at_tinybird,
    ),
)
