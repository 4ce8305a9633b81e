"""Small Meltano projects as files, read as a commit's would be."""

from __future__ import annotations

from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.gathering import gather
from dataops_dagster.meltano.reading import Reading

SEED = """\
version: 1
default_environment: dev
project_id: 8c07f654-6908-4b51-acef-8de3d37aecac
environments:
- name: dev
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: 39Pu9tTomnTv594VAFYnmRvkEpSlI7a6
- name: staging
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: 4Zd5QXqHKNoKq4ySx8CP1UBm5eIUgh7t
- name: prod
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: u4kcVHKUD9lkbUbXA3eXCt88scStaqHM
          domain: matatika.eu.auth0.com
plugins:
  extractors:
  - name: tap-auth0
    config:
      domain: matatika-staging.eu.auth0.com
"""
"""The example of Matatika's guide, with which everybody starts."""

SHOP = """\
project_id: 8c07f654-6908-4b51-acef-8de3d37aecac
environments:
- name: staging
  config:
    plugins:
      extractors:
      - {name: tap-x, config: {host: staging.example.com}}
- name: prod
  config:
    plugins:
      extractors:
      - {name: tap-x, config: {host: prod.example.com}}
plugins:
  extractors:
  - name: tap-x
    namespace: tap_x
    pip_url: tap-x==1.0
    settings:
    - {name: password, kind: password}
    - {name: batch, kind: integer, value: 10}
    config: {host: example.com, password: $TAP_X_PASSWORD}
  loaders:
  - name: target-y
    namespace: target_y
    executable: ./bin/target-y
jobs:
- {name: load, tasks: [tap-x target-y]}
schedules:
- {name: nightly, interval: "0 3 * * *", job: load}
"""
"""A project in which nothing is wrong."""


def read(text: str = SHOP, **more: str) -> Reading:
    """Read a project; `more` are its pipelines by name."""
    files = {f"pipelines/{name}.yml": content for name, content in more.items()}
    reading = gather(GivenFiles({"meltano.yml": text, **files}))
    assert reading
    return reading


def edited(*pairs: tuple[str, str], text: str = SHOP) -> str:
    """Return a project's text with pieces of it replaced, each of which must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text
