"""Meltano projects as data teams write them, with lock files as the hub gives them."""

from __future__ import annotations

import json
from typing import Any

Files = dict[str, str]


def _lock(
    type_: str, name: str, variant: str, settings: list[dict[str, Any]], **more: Any
) -> Files:
    definition = {
        "plugin_type": type_,
        "name": name,
        "namespace": name.replace("-", "_"),
        "variant": variant,
        "label": name.title(),
        "docs": f"https://hub.meltano.com/{type_}/{name}--{variant}",
        "repo": f"https://github.com/{variant}/{name}",
        "pip_url": f"git+https://github.com/{variant}/{name}.git",
        "description": "What it does",
        "logo_url": f"https://hub.meltano.com/assets/logos/{type_}/{name}.png",
        **more,
        "settings": settings,
    }
    return {f"plugins/{type_}/{name}--{variant}.lock": json.dumps(definition, indent=2) + "\n"}


GITLAB = _lock(
    "extractors",
    "tap-gitlab",
    "meltanolabs",
    [
        {"name": "api_url", "kind": "string", "value": "https://gitlab.com", "label": "GitLab",
         "aliases": ["url"], "description": "The instance"},
        {"name": "private_token", "kind": "password", "value": "", "aliases": ["token"],
         "env_aliases": ["GITLAB_API_TOKEN"]},
        {"name": "groups", "value": "", "placeholder": "Ex. my-group"},
        {"name": "projects", "value": ""},
        {"name": "ultimate_license", "kind": "boolean", "value": False},
        {"name": "start_date", "kind": "date_iso8601", "oauth": {}},
        {"name": "requests_cache_config", "kind": "object", "value": {"size": 1, "path": {"a": None}}},
        {"name": "stream_maps", "kind": "object"},
        {"name": "flattening_max_depth", "kind": "integer"},
        {"name": "faker_config.locale", "kind": "array"},
        {"name": "faker_config.seed", "kind": "string"},
    ],
    capabilities=["catalog", "discover", "state"],
    settings_group_validation=[["api_url", "groups", "start_date"], ["api_url", "projects"]],
    select=["*.*"],
    metadata={"jobs": {"replication-method": "FULL_TABLE"}, "*": {"selected": True}},
    maintenance_status="active",
    keywords=["meltano_sdk"],
    usage="...",
)  # fmt: skip
POSTGRES = _lock(
    "loaders",
    "target-postgres",
    "meltanolabs",
    [
        {"name": "host", "value": "localhost"},
        {"name": "port", "kind": "integer", "value": 5432},
        {"name": "user"},
        {"name": "password", "sensitive": True, "kind": "string"},
        {"name": "dialect+driver", "value": "postgresql+psycopg2"},
        {"name": "default_target_schema", "value": "$MELTANO_EXTRACT__LOAD_SCHEMA"},
        {"name": "hard_delete", "kind": "boolean", "value": False},
        {"name": "load_method", "kind": "options", "value": "append-only",
         "options": [{"label": "Append", "value": "append-only"}, {"value": "upsert"}]},
        {"name": "batch_size_rows", "kind": "integer"},
        {"name": "ssl_enable", "kind": "boolean", "value": False},
        {"name": "ssh_tunnel.enable", "kind": "boolean", "value": False},
        {"name": "ssh_tunnel.port", "kind": "integer", "value": 22},
        {"name": "ssh_tunnel.private_key", "kind": "password"},
    ],
    dialect="postgres",
    target_schema="$TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA",
)  # fmt: skip
DBT = _lock(
    "utilities",
    "dbt-postgres",
    "dbt-labs",
    [
        {"name": "project_dir", "value": "$MELTANO_PROJECT_ROOT/transform", "env": "DBT_PROJECT_DIR"},
        {"name": "profiles_dir", "env": "DBT_PROFILES_DIR",
         "value": "$MELTANO_PROJECT_ROOT/transform/profiles/postgres"},
        {"name": "host", "env": "DBT_POSTGRES_HOST"},
        {"name": "password", "kind": "password", "env": "DBT_POSTGRES_PASSWORD"},
        {"name": "port", "kind": "integer", "aliases": ["p"]},
        {"name": "skip_pre_invoke", "kind": "boolean", "value": False},
        {"name": "target", "value": "dev"},
    ],
    commands={
        "build": {"args": "build", "description": "Builds"},
        "describe": {"args": "describe", "executable": "dbt_extension"},
        "docs-generate": "docs generate",
        "test": {"args": "test", "container_spec": {"image": "dbt", "env": {"A": "$B"}}},
    },
    requires={"files": [{"name": "files-dbt-postgres", "variant": "meltano"}]},
    vars={"start": "$START"},
)  # fmt: skip
AIRFLOW = _lock(
    "orchestrators",
    "airflow",
    "apache",
    [
        {"name": "core.dags_folder", "value": "$MELTANO_PROJECT_ROOT/orchestrate/dags",
         "env": "AIRFLOW__CORE__DAGS_FOLDER"},
        {"name": "core.plugins_folder", "value": "$MELTANO_PROJECT_ROOT/orchestrate/plugins"},
        {"name": "core.load_examples", "kind": "boolean", "value": False},
        {"name": "database.sql_alchemy_conn",
         "value": "sqlite:///$MELTANO_PROJECT_ROOT/.meltano/airflow.db"},
        {"name": "webserver.port", "kind": "integer"},
    ],
)  # fmt: skip
SHOP = {
    "meltano.yml": """\
version: 1
default_environment: dev
project_id: 11111111-1111-4111-8111-111111111111
send_anonymous_usage_stats: false
requires_meltano: '>=2.0'
venv: {backend: uv}
state_backend:
  uri: s3://$STATE_BUCKET/state
  lock_timeout_seconds: 20
cli:
  log_level: info
ff: {plugin_locks_required: true}
include_paths: [./environments.meltano.yml, 'extract/*.yml', load/**/*.meltano.yml]
env:
  REGION: eu-west-1
  START: 2021-01-01
  HOST_DEV: "localhost"
  BATCH: 5_000
plugins:
  utilities:
  - name: dbt-postgres
    variant: dbt-labs
    pip_url: dbt-core~=1.7 dbt-postgres~=1.7 git+https://github.com/meltano/dbt-ext.git@main
    python: python3.11
    config: {host: $PGHOST, password: $PGPASSWORD, target: $MELTANO_ENVIRONMENT}
    env: {DBT_CLEAN_PROJECT_FILES_ONLY: 'false'}
    vars: {shop: {region: $REGION}}
    commands:
      build:
        args: build --vars '{"start":"$START"}'
  - {name: sqlfluff, namespace: sqlfluff, executable: sqlfluff, settings: [{name: dialect}]}
  orchestrators:
  - name: airflow
    variant: apache
    config:
      core: {dags_are_paused_at_creation: false, load_examples: false}
      webserver.port: 8081
  files:
  - name: files-docker
    namespace: files_docker
    update: {Dockerfile: true, .dockerignore: false}
  mappers:
  - name: meltano-map-transformer
    namespace: meltano_map_transformer
    executable: meltano-map-transform
    settings: [{name: stream_maps, kind: object}]
    mappings:
    - name: hide-emails
      config:
        stream_maps:
          users: &hide
            email: md5(email)
            __filter__: "id > $MIN_ID"
            name: __NULL__
          people: {<<: *hide, phone: null}
        stream_map_config: {hash_seed: $SEED}
    - name: keep-all
      config: {stream_maps: {}}
jobs:
- name: gitlab-to-postgres
  tasks: [tap-gitlab hide-emails target-postgres, [dbt-postgres:run, dbt-postgres:test]]
- {name: 'nightly:all', tasks: ["tap-gitlab--ours target-postgres dbt-postgres:build"]}
schedules:
- {name: hourly, interval: '@hourly', job: gitlab-to-postgres, env: {A: '1'}}
- {name: old, extractor: tap-gitlab, loader: target-postgres, transform: skip, interval: '@once',
   start_date: 2020-01-01 00:00:00}
annotations: {owner: {team: data}}
""",
    "environments.meltano.yml": """\
environments:
- name: dev
  env: {PGHOST: $HOST_DEV, PGPASSWORD: dev, SCHEMA: "dev_$USERNAME"}
  config:
    plugins:
      extractors:
      - name: tap-gitlab
        config: {start_date: 2023-01-01T00:00:00Z, groups: my/dev}
        select: [projects.*, '!projects.secret']
      loaders:
      - name: target-postgres
        config: {default_target_schema: $SCHEMA, ssh_tunnel: {enable: false}}
- name: staging
  state_id_suffix: $MELTANO_ENVIRONMENT-$REGION
  env:
    PGHOST: staging.db
  config:
    plugins:
      extractors:
      - name: tap-gitlab--ours
        config: {projects: "a/b c/d", faker_config: {seed: 5}}
        metadata: {issues: {replication-key: updated_at}}
      mappers:
      - name: meltano-map-transformer
        config: {stream_maps: {all: {a: b}}}
- name: prod
  annotations: {arn: x}
  env: {PGHOST: "${PROD_HOST}"}
  config:
    plugins:
      extractors:
      - name: tap-gitlab
        config:
          start_date: '2020-01-01T00:00'
          requests_cache_config.size: 100
      loaders:
      - name: target-postgres
        env: {TARGET_POSTGRES_BATCH_SIZE_ROWS: $BATCH}
        config: {host: $PGHOST, ssl_enable: 'yes', load_method: upsert, ssh_tunnel.enable: true}
      utilities:
      - {name: dbt-postgres, config: {target: prod, port: '$PGPORT'}}
      orchestrators:
      - {name: airflow, config: {core: {parallelism: 32}}}
""",
    "extract/gitlab.yml": """\
# Where the issues come from
plugins:
  extractors:
  - name: tap-gitlab
    variant: meltanolabs
    pip_url: meltanolabs-tap-gitlab
    config:
      groups: meltano
      token: $GITLAB_TOKEN
      start_date: 2022-02-02
      stream_maps: {projects: {name_hash: md5(name)}}
    select: &streams
    - projects.*
    - issues.id
    - "!issues.*_token"
    metadata:
      issues: {replication-method: INCREMENTAL, replication-key: updated_at}
      merge_requests.replication-method: FULL_TABLE
    schema: {projects: {created_at: {type: [string, 'null'], format: date-time}}}
  - name: tap-gitlab--ours
    inherit_from: tap-gitlab
    config: {api_url: https://gitlab.example.com, groups: ~, ultimate_license: true}
    select: *streams
    load_schema: gitlab_ours
  - name: tap-gitlab--deep
    inherit_from: tap-gitlab--ours
    env: {GITLAB_TOKEN: from-deep}
    config:
      start_date: $START
      flattening_max_depth: '3'
    select_filter: [projects]
""",
    "load/postgres/target.meltano.yml": """\
plugins:
  loaders:
  - name: target-postgres
    variant: meltanolabs
    config:
      host: $PGHOST
      user: "loader"
      password: $PGPASSWORD
      load_method: $LOAD_METHOD
      ssh_tunnel: {port: 2222}
  - name: target-postgres--raw
    inherit_from: target-postgres
    variant: meltanolabs
    config: {default_target_schema: raw}
""",
    ".env": """\
# secrets of a developer
GITLAB_TOKEN="glpat-1 2"
export PGPASSWORD='p$w'
LOAD_METHOD=upsert
TARGET_POSTGRES_USER=dotenv
SEED=${HOME}x
""",
    **GITLAB,
    **POSTGRES,
    **DBT,
    **AIRFLOW,
}
"""A shop's project of several files, with everything that Meltano's guides speak of."""

MATATIKA = {
    "meltano.yml": """\
version: 1
default_environment: dev
project_id: 11111111-1111-4111-8111-111111111111
environments:
- name: dev
- name: staging
- name: prod
  config:
plugins:
  extractors:
  - name: tap-google-analytics
    variant: matatika
    namespace: tap_google_analytics
    label: Google Analytics
    description: "Web: visits & more"
    pip_url: git+https://github.com/Matatika/tap-google-analytics@v0.3.2
    capabilities: [catalog, discover, state]
    settings_group_validation:
    - [view_id, start_date]
    settings:
    - {name: oauth_credentials.client_id, kind: oauth, hidden: true}
    - {name: oauth_credentials.refresh_token, kind: password}
    - {name: oauth_credentials.refresh_proxy_url, value: $OAUTH_PROXY_URL}
    - name: view_id
      env: GA_VIEW_ID
      env_aliases: [ANALYTICS_VIEW]
    - {name: start_date, kind: date_iso8601, value: 2021-06-01T00:00:00Z}
    - {name: end_date, kind: date_iso8601}
    - {name: key_file_location, kind: file, value: $MELTANO_PROJECT_ROOT/client_secrets.json}
    - name: reports
      kind: array
      value: [{name: visits, metrics: ['ga:users'], days: 7}]
    - {name: quota, kind: decimal}
    - {name: mail, kind: email, value: a@example.com}
    - {name: mode, kind: options, options: [{label: Fast, value: fast}, {label: Slow, value: slow}]}
    - {name: account, kind: hidden, value: 0o17}
    config:
      view_id: 0123
      end_date: 2022-02-02
      quota: .5
      mode: slow
      text: >-
        several
        lines
      query: |
        select *
        from "ünïcode" -- 😀
      camelCase: {Inner-Key: 0x1F, 'with space': 1e3, a.b: [1.0, ~, {deep: $GA_VIEW_ID}]}
  - name: tap-trello
    variant: matatika
    config:
  loaders:
  - name: target-s3
    namespace: target_s3
    settings:
    - {name: cloud_provider.aws.aws_access_key_id, sensitive: true}
    - {name: cloud_provider.aws.aws_bucket, value: $BUCKET}
    - {name: format.format_type, value: parquet}
    - {name: prefix, value: "${MELTANO_ENVIRONMENT}/${MELTANO_LOADER_NAME}"}
    config:
      cloud_provider: {aws: {aws_access_key_id: $AWS_KEY, aws_region: eu}, cloud_provider_type: aws}
      include_process_date: True
      append_date_to_filename: 'True'
  transforms:
  - name: dbt-google-analytics
    namespace: dbt_google_analytics
    vars: {schema: "{{ env_var('DBT_SOURCE_SCHEMA') }}"}
    package_name: ga
  utilities:
  - name: superset
    namespace: superset
    config: {SQLALCHEMY_DATABASE_URI: $DB, ROW_LIMIT: 5000}
  - name: matatika
    namespace: matatika
    settings: [{name: a, value_post_processor: stringify, value: {b: [1]}}, {name: c, aliases: [d]}]
    config: {d: {e: 1}}
  transformers:
  - name: dbt
    namespace: dbt
    config: {models: "$MELTANO_TRANSFORM_NAMESPACE *", target_path: .meltano/$MELTANO_ENVIRONMENT}
    vars:
""".replace("\n", "\r\n"),
    "pipelines/load.yml": "version: pipelines/v0.1\nactions: [tap-trello, target-s3]\n",
    **_lock(
        "extractors",
        "tap-trello",
        "matatika",
        [
            {"name": "developer_api_key", "kind": "password", "description": None},
            {"name": "board_ids", "kind": "array", "value": "[1, 'two']"},
            {"name": "start_date", "kind": "date_iso8601", "value": "2021/06/01"},
            {"name": "wait", "kind": "integer", "value": "$TRELLO_WAIT"},
            {"name": "nested", "kind": "object", "value": {"a": {"b": 1}, "c": "$BUCKET"}},
            {"name": "nested.a.b", "kind": "integer"},
        ],
        executable="tap-trello",
        env={"IGNORED": "1"},
        prereq="an account",
        hidden=False,
    ),
}
"""A workspace of Matatika, edited on Windows."""

TEAMS = {"a shop": SHOP, "matatika": MATATIKA}
VARIABLES = {
    "USERNAME": "ann",
    "STATE_BUCKET": "bucket",
    "PROD_HOST": "db.example.com",
    "TAP_GITLAB_PROJECTS": "from/process",
    "TAP_TRELLO_WAIT": "5",
    "AWS_KEY": "AKIA",
    "ANALYTICS_VIEW": "77",
    "BUCKET": "b",
    "PGPORT": "5433",
}
"""What the process knows that asks."""
