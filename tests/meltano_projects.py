"""Meltano projects of all shapes, small and made up: names are few, so that layers meet."""

from __future__ import annotations

import datetime as dt
import json

import yaml
from hypothesis import strategies as st

VARIABLES = ("P", "Q", "low", "TAP_ONE_A", "TAP_ONE_O_X", "TAP_TWO_A", "TAP_ONE__SELECT", "X_ALIAS")
NAMES = ("a", "b", "o", "o.x", "o.y", "n.m.k", r"e\.f", "l")
TEXTS = (
    "", "text", "1", "1.5", "true", "no", "$P", "${Q}", "a-$P-b", r"\$P", "${low}", "$low", "$P$Q",
    "$TAP_ONE_A", "$MISSING", '{"k": 1}', "[1, 2]", "['x']", "2024-01-02", "$MELTANO_PROJECT_ID",
    "$MELTANO_EXTRACTOR_NAME/$MELTANO_ENVIRONMENT", "$MELTANO_EXTRACT_A", "5",
)  # fmt: skip
KINDS = (
    "string", "integer", "boolean", "decimal", "date_iso8601", "password", "options", "array",
    "object", "object", "hidden", "email",
)  # fmt: skip

texts = st.sampled_from(TEXTS)
plain = st.one_of(
    texts, texts, texts, st.none(), st.booleans(), st.integers(-3, 30), st.sampled_from([1.5, 2.0]),
    st.just(dt.date(2024, 1, 2)),
)  # fmt: skip
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["x", "y", "k", "m", "x.y", r"e\.f"]), inner, max_size=2),
    ),
    max_leaves=4,
)
configs = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)
envs = st.dictionaries(st.sampled_from(VARIABLES), plain, max_size=2)
processes = st.dictionaries(st.sampled_from(VARIABLES), texts, max_size=2)


def optional(strategy, chance=3):
    """Leave a key out most of the time."""
    return st.one_of(*[st.just(...)] * chance, strategy)


def tables(**keys):
    """A mapping whose keys may be left out."""
    return st.fixed_dictionaries(keys).map(
        lambda table: {key: value for key, value in table.items() if value is not ...}
    )


settings = st.lists(
    tables(
        name=st.sampled_from(NAMES),
        kind=optional(st.sampled_from(KINDS), 1),
        value=optional(values, 1),
        aliases=optional(st.lists(st.sampled_from(["b", "z"]), max_size=1), 5),
        env_aliases=optional(st.just(["X_ALIAS"]), 7),
        env=optional(st.just("OWN"), 7),
        sensitive=optional(st.booleans(), 7),
        options=optional(st.just([{"value": "text"}, {"value": 1}]), 1),
        value_processor=optional(st.just("nest_object"), 30),
        value_post_processor=optional(st.sampled_from(["stringify", "upcase_string"]), 30),
    ),
    max_size=3,
)
extras = {
    "select": optional(st.lists(st.sampled_from(["*.*", "!$P.x"]), max_size=2), 4),
    "metadata": optional(st.dictionaries(st.sampled_from(["s", "t.u"]), configs, max_size=2), 5),
    "load_schema": optional(texts, 5),
    "vars": optional(configs, 7),
    "docs": optional(st.just("https://example.com"), 15),
    "custom": optional(values, 7),
    "annotations": optional(configs, 15),
    "use_cached_catalog": optional(st.sampled_from([False, "$P", "no"]), 9),
}
plugins = tables(
    name=st.sampled_from(["tap-one", "tap-one", "tap-two"]),
    namespace=optional(st.sampled_from(["tap_one", "other"]), 0),
    variant=optional(st.sampled_from(["v", "w", "original"]), 5),
    settings=optional(settings, 1),
    config=optional(configs, 0),
    env=optional(envs, 2),
    **extras,
)
heirs = tables(
    name=st.sampled_from(["tap-heir", "tap-two"]),
    inherit_from=st.sampled_from(["tap-one", "tap-one", "tap-heir", "tap-two", "tap-locked"]),
    variant=optional(st.just("v"), 7),
    namespace=optional(st.just("own"), 5),
    settings=optional(settings, 3),
    config=optional(configs, 0),
    env=optional(envs, 2),
    **extras,
)
locked = tables(
    name=st.just("tap-locked"),
    variant=optional(st.just("v"), 2),
    settings=optional(settings, 3),
    config=optional(configs, 0),
    env=optional(envs, 3),
    **extras,
)
locks = tables(
    plugin_type=st.just("extractors"),
    name=st.just("tap-locked"),
    namespace=st.just("tap_locked"),
    variant=st.just("v"),
    settings=settings,
    env=optional(envs, 3),
    **{key: extras[key] for key in ("select", "metadata", "docs", "custom")},
)
in_environment = tables(
    name=st.sampled_from(["tap-one", "tap-one", "tap-two", "tap-heir", "tap-locked"]),
    config=optional(configs, 0),
    env=optional(envs, 2),
    **{key: extras[key] for key in ("select", "metadata", "custom")},
)
environments = st.lists(
    tables(
        env=optional(envs, 1),
        config=tables(
            plugins=tables(
                extractors=st.lists(in_environment, max_size=2),
                mappers=optional(st.lists(in_environment, max_size=1)),
                utilities=optional(st.lists(in_environment, max_size=1)),
            )
        ),
    ),
    min_size=2,
    max_size=3,
).map(lambda found: [{"name": n, **e} for n, e in zip(("dev", "prod", "dev"), found, strict=False)])
mappers = tables(
    name=st.just("tap-one"),
    namespace=st.just("map_one"),
    settings=optional(settings, 2),
    config=optional(configs, 1),
    mappings=st.lists(
        st.fixed_dictionaries({"name": st.sampled_from(["m", "n", "o"]), "config": configs}),
        max_size=1,
    ),
)
contents = tables(
    env=optional(envs, 1),
    ff=optional(st.fixed_dictionaries({"strict_env_var_mode": st.booleans()}), 6),
    environments=environments,
    plugins=tables(
        extractors=st.lists(
            st.one_of(plugins, plugins, heirs, heirs, locked), min_size=1, max_size=4
        ),
        loaders=optional(st.lists(plugins, max_size=1)),
        utilities=optional(st.lists(plugins, max_size=1)),
        transforms=optional(st.lists(plugins, max_size=1), 5),
        orchestrators=optional(
            st.lists(plugins.map(lambda p: {**p, "name": "airflow"}), max_size=1), 5
        ),
        mappers=optional(st.lists(mappers, max_size=2)),
    ),
)


@st.composite
def projects(draw):
    """A project's files by their paths, and the variables of a process."""
    files = {"meltano.yml": _yaml(draw(contents))}
    if draw(st.integers(0, 15)) == 0:
        files["more.yml"] = _yaml(draw(contents))
        files["meltano.yml"] += "include_paths: ['m*.yml']\n"
    for name in draw(st.sampled_from([("default", "v"), ("default", "v"), ("v",), ("default",)])):
        files[f"plugins/extractors/tap-locked--{name}.lock"] = json.dumps(
            draw(locks), indent=2, default=str
        )
    dotenv = draw(optional(processes, 2))
    if dotenv is not ...:
        files[".env"] = "".join(f"{name}='{value}'\n" for name, value in dotenv.items())
    return files, draw(processes)


def _yaml(content):
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, _):
        return True
