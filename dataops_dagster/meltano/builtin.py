"""The settings of Meltano itself, which every plug-in's values may name as MELTANO_... variables."""

from __future__ import annotations

from dataops_dagster.meltano.definitions import Definition

_LEVELS = ("debug", "info", "warning", "error", "critical", "disabled")
_FORMATS = ("colored", "uncolored", "json", "key_value", "plain")
_STATE_BACKENDS = (
    "azure.connection_string",
    "azure.storage_account_url",
    "gcs.application_credentials",
    "gcs.application_credentials_path",
    "gcs.application_credentials_json",
    "s3.aws_access_key_id",
    "s3.aws_secret_access_key",
    "s3.endpoint_url",
)
STRICT = Definition("ff.strict_env_var_mode", "boolean", False)


def _one_of(name: str, default: str, options: tuple[str, ...]) -> Definition:
    return Definition(name, "options", default, options=[{"value": option} for option in options])


SETTINGS = (
    Definition("default_environment"),
    Definition("send_anonymous_usage_stats", "boolean", True),
    Definition("disable_tracking", "boolean"),
    Definition("project_id"),
    Definition("database_uri", None, "sqlite:///$MELTANO_SYS_DIR_ROOT/meltano.db"),
    Definition("database_max_retries", "integer", 3),
    Definition("database_retry_timeout", "integer", 5),
    Definition("project_readonly", "boolean", False),
    Definition("hub_api_root"),
    Definition("hub_url", None, "https://hub.meltano.com"),
    Definition("hub_url_auth"),
    Definition("elt.buffer_size", "integer", 104_857_600),
    Definition("python"),
    Definition("auto_install", "boolean", True),
    Definition("state_backend.uri", None, "systemdb"),
    Definition("state_backend.lock_timeout_seconds", "integer", 10),
    Definition("state_backend.lock_retry_seconds", "integer", 1),
    _one_of("cli.log_level", "info", _LEVELS),
    Definition("cli.log_config", None, "logging.yaml"),
    _one_of("cli.log_format", "colored", _FORMATS),
    Definition("cli.disable_version_check", "boolean", False),
    Definition("snowplow.collector_endpoints", "array", ["https://sp.meltano.com"]),
    _one_of("venv.backend", "uv", ("virtualenv", "uv")),
    Definition("experimental", "boolean", False),
    STRICT,
    Definition("ff.plugin_locks_required", "boolean", False),
    *(Definition(f"state_backend.{name}") for name in _STATE_BACKENDS),
)
"""As Meltano 4.4 declares them; a project's own top-level keys of other names are no settings."""
