"""The component for `defs.yaml`: the same configuration as `dataops.yaml`, and what users may override."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from dataops_dagster import config
from dataops_dagster.errors import ConfigError
from dataops_dagster.model import Book
from dataops_dagster.orchestration import templates
from dataops_dagster.orchestration.book import InstanceBook
from dataops_dagster.orchestration.definitions import definitions_of
from dataops_dagster.settings import Project, Workspace

_EXAMPLE = {
    "project": "shop",
    "workspaces": {
        "staging": {
            "repository": "https://git.example.com/shop/staging.git",
            "environment": "staging",
            "run": {"platform": "meltano", "run": ["load-users"]},
        },
        "prod": {
            "repository": "https://git.example.com/shop/prod.git",
            "environment": "prod",
            "upstream": "staging",
            "gate": {"environment": "staging"},
        },
    },
}
_TEMPLATE = {"type": "string", "pattern": r"\{\{.*\}\}"}


class _Attributes(BaseModel):
    """What stands below `attributes:`, not looked at until its templates are filled in."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the schema of `dataops.yaml`, with templates allowed, or the path of such a file."""
        whole = _with_templates(config.schema())
        definitions = whole.pop("$defs")
        path = {"type": "string", "description": "a dataops.yaml, seen from this file's folder"}
        elsewhere = {"properties": {"config": path}, "additionalProperties": False}
        # Not one of two schemas: of those a checker could only say that neither fits.
        return {
            "$defs": definitions,
            "type": "object",
            "if": {"required": ["config"]},
            "then": elsewhere,
            "else": whole,
        }


class DataOpsScaffolder(dg.Scaffolder[Any]):
    """Writes a `defs.yaml` that loads as it stands, to be changed into the user's."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write it."""
        dg.scaffold_component(request, _EXAMPLE)


@dg.scaffold_with(DataOpsScaffolder)
class DataOpsProjectComponent(dg.Component):
    """Promote data workspaces safely: production gets what a staging run proved.

    One project: its workspaces as assets, promotions that ask a gate, and deployments. The
    attributes are the keys of `dataops.yaml`, or `config:` with the path of such a file.

    ```yaml
    type: dataops_dagster.DataOpsProjectComponent
    attributes:
      project: shop
      workspaces:
        staging:
          repository: "{{ env.STAGING_REPOSITORY }}"
          environment: staging
          run: {platform: meltano, run: [load-users]}
        prod:
          repository: https://git.example.com/shop/prod.git
          environment: prod
          upstream: staging
          gate: {environment: staging}
    ```
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model of the attributes."""
        return _Attributes

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return what lists of components show."""
        return dg.ComponentTypeSpec(tags=["dataops", "git", "meltano", "tinybird"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Read the attributes; raises `ConfigError` with all problems at once."""
        given = attributes.model_dump() if attributes else {}
        file = context.path if context.path.is_file() else context.path / "defs.yaml"
        resolving = context.resolution_context.at_path("attributes")
        return cls(_project(templates.filled(given, resolving, file=file), file))

    def get_asset_spec(
        self,
        spec: dg.AssetSpec,
        workspace: Workspace,  # noqa: ARG002  # for those who override it
    ) -> dg.AssetSpec:
        """Return an asset as it should appear; override it for owners, tags, groups or metadata.

        Called for each asset of each workspace, with the asset as it is made here. Its key and
        its dependencies must stay as they are.
        """
        return spec

    def get_book(self, instance: dg.DagsterInstance) -> Book:
        """Return where evidence is found; override it to ask further sources.

        What it says is believed: a gate opens for it.
        """
        return InstanceBook(instance)

    def build_defs(
        self,
        context: dg.ComponentLoadContext,  # noqa: ARG002  # Dagster gives it
    ) -> dg.Definitions:
        """Return the project's definitions; touches no repository and no network."""
        is_ours = type(self).get_book is DataOpsProjectComponent.get_book
        book_of = InstanceBook if is_ours else self.get_book
        return definitions_of(self.project, spec_of=self.get_asset_spec, book_of=book_of)


def _project(given: Mapping[str, Any], file: Path) -> Project:
    path = given.get("config")
    if path is None:
        return config.of_data(file, given)
    if len(given) > 1 or not isinstance(path, str):
        raise ConfigError.at(
            f"{file}: config",
            "stands beside other keys, or is no path",
            "name a dataops.yaml by config: alone, or write its keys here",
        )
    return config.load(file.parent / path)


def _with_templates(schema: Any) -> Any:
    """Allow a template wherever one value stands."""
    if isinstance(schema, list):
        return [_with_templates(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: _with_templates(value) for name, value in part.items()}
        if key in ("properties", "$defs")
        else _with_templates(part)
        if key in ("items", "additionalProperties", "anyOf", "oneOf", "allOf")
        else part
        for key, part in schema.items()
    }
    is_value = schema.get("type") in ("boolean", "integer", "number", "string") or "enum" in schema
    if not is_value or "const" in schema:
        return inner
    return {"anyOf": [inner, _TEMPLATE]}
