"""The Dagster layer: thin, and the only place where Dagster is imported."""
