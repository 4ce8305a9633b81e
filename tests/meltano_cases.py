"""Small Meltano projects, each for one rule of how its configuration comes about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent


@dataclass(frozen=True)
class Case:
    """A project's files, and the variables of the process that asks."""

    name: str
    files: Mapping[str, str | bytes]
    variables: Mapping[str, str] = field(default_factory=dict)


AUTH0 = {
    "meltano.yml": """\
version: 1
default_environment: dev
project_id: 11111111-1111-4111-8111-111111111111
environments:
- name: dev
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: client-of-dev
- name: staging
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: client-of-staging
- name: prod
  config:
    plugins:
      extractors:
      - name: tap-auth0
        config:
          client_id: client-of-prod
          domain: matatika.eu.auth0.com
plugins:
  extractors:
  - name: tap-auth0
    variant: matatika
    pip_url: git+https://github.com/Matatika/tap-auth0.git
    config:
      domain: matatika-staging.eu.auth0.com
""",
    "plugins/extractors/tap-auth0--matatika.lock": json.dumps(
        {
            "plugin_type": "extractors",
            "name": "tap-auth0",
            "namespace": "tap_auth0",
            "variant": "matatika",
            "label": "Auth0",
            "capabilities": ["catalog", "discover", "state"],
            "settings": [
                {"name": "client_id", "kind": "string"},
                {"name": "client_secret", "sensitive": True},
                {"name": "domain"},
                {"name": "job_poll_interval_ms", "kind": "integer", "value": 2000},
                {"name": "job_poll_max_count", "kind": "integer", "value": 10},
            ],
        },
        indent=2,
    ),
}
"""The example that everybody starts with."""


def _tap(body: str, rest: str = "", **variables: str) -> Case:
    """A project with one custom extractor, whose entry goes on with `body`."""
    entry = "- name: tap-x\n  namespace: tap_x\n" + _indented(dedent(body), 2)
    plugins = "plugins:\n  extractors:\n" + _indented(entry, 2)
    return Case("", {"meltano.yml": dedent(rest) + plugins}, variables)


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


def _environments(*, name: str = "tap-x", **bodies: str) -> str:
    """Environments with one extractor's entry, which goes on with a body."""
    made = "environments:\n"
    for environment, body in bodies.items():
        made += f"- name: {environment}\n  config:\n    plugins:\n      extractors:\n"
        made += _indented(f"- name: {name}\n" + _indented(dedent(body), 2), 6)
    return made


def _project(text: str, files: Mapping[str, str | bytes] | None = None, **variables: str) -> Case:
    return Case("", {"meltano.yml": dedent(text), **(files or {})}, variables)


def _lock(**more: object) -> str:
    base = {
        "plugin_type": "extractors",
        "name": "tap-l",
        "namespace": "tap_l",
        "variant": "default",
    }
    return json.dumps({**base, **more}, indent=2)


_LOCK = "plugins/extractors/tap-l--default.lock"
_LOCKED = "plugins:\n  extractors:\n  - name: tap-l\n"
_CUSTOM = "plugins:\n  extractors:\n  - {name: tap-x, namespace: tap_x}\n"

_CASES: dict[str, Case] = {
    "the example of everybody": Case("", AUTH0),
    # --- how YAML is read ---------------------------------------------------------------------
    "yaml 1.2": _tap(
        "config: {a: yes, b: on, c: 017, d: 0o17, e: 1_000, f: 0x1F, g: 1e3, h: ~, i: 12:30, j: +5,"
        " k: .5, l: 0b11, m: .inf, n: 1., o: null, p: True, q: 'true', r: off, s: 1.0}"
    ),
    "yaml 1.1 asked for": _project("%YAML 1.1\n---\n" + _CUSTOM + "    config: {a: yes}\n"),
    "dates": _tap("config: {a: 2024-01-02, b: 2024-01-02T03:04:05Z, c: [2024-01-02], d: 2024-1-2}"),
    "texts over lines": _tap("config:\n  a: |\n    x\n    y\n  b: >-\n    x\n    y\n  c: 'x''y'\n"),
    "anchors and merges": _tap(
        "config:\n  a: &a {x: 1, y: $P}\n  b: *a\n  c: {<<: *a, y: 2}\n  d: &t true\n  e: *t\n"
    ),
    "merges of several": _tap(
        "config:\n  a: &a {x: 1}\n  b: &b {x: 2, y: 2}\n  c: {<<: [*a, *b], z: 3}\n"
    ),
    "a key twice": _tap("config: {a: 1, a: 2}"),
    "a byte order mark": _project("\ufeff" + _CUSTOM),
    "no yaml": _project(_CUSTOM + "x: [\n"),
    "an empty file": _project(""),
    "a list": _project("- a\n"),
    "keys that are no text": _tap("config: {1: a}"),
    "keys that are no text, nested": _tap("config: {a: {true: 1}}"),
    "keys that are no text, in a list": _tap("config: {a: [{1: x, true: y, null: z}]}"),
    "non-finite numbers": _tap("config: {a: .nan, b: -.inf}"),
    # --- layers -------------------------------------------------------------------------------
    "environment over base over default": _tap(
        "settings: [{name: a, value: 1}, {name: b, value: 1}, {name: c, value: 1}, {name: d}]\n"
        "config: {a: 2, b: 2}",
        _environments(dev="config: {a: 3, d: 3}", prod="config: {z: 1}"),
    ),
    "null never unsets": _tap(
        "settings: [{name: a, value: 1}]\nconfig: {a: 2, b: 2}",
        _environments(dev="config: {a: null, b: null, c: null}"),
    ),
    "empty values win": _tap(
        "config: {a: x, b: 5, c: true, d: [1]}",
        _environments(dev="config: {a: '', b: 0, c: false, d: []}"),
    ),
    "lists are replaced whole": _tap("config: {a: [1, 2]}", _environments(dev="config: {a: [3]}")),
    "maps leaf by leaf": _tap(
        "config: {a: {x: 1, y: {z: 1}}}", _environments(dev="config: {a: {x: 2, y: {w: 3}}}")
    ),
    "an empty map over a map": _tap("config: {a: {x: 1}}", _environments(dev="config: {a: {}}")),
    "a map over an empty map": _tap("config: {a: {}}", _environments(dev="config: {a: {x: 1}}")),
    "a plain value over a map": _tap("config: {a: {x: 1}}", _environments(dev="config: {a: 5}")),
    "a map over a plain value": _tap("config: {a: 5}", _environments(dev="config: {a: {x: 1}}")),
    "a map over a text": _tap("config: {a: axb}", _environments(dev="config: {a: {x: 1}}")),
    "a map over a list": _tap("config: {a: [x]}", _environments(dev="config: {a: {x: 1}}")),
    "dotted and nested": _tap("config: {a.b: 1, a: {b: 2, c: 3}}"),
    "a default map and one leaf of it": _tap(
        "settings: [{name: o, kind: object, value: {x: 1, y: 2}}]",
        _environments(dev="config: {o: {x: 5}}", prod="config: {o.z: 1}"),
    ),
    "declared leaves of an object": _tap(
        "settings: [{name: o, kind: object}, {name: o.a, kind: integer}, {name: o.b, value: 1}]",
        _environments(dev="config: {o: {a: '7', c: {d: 1}}}"),
    ),
    "objects in objects": _tap(
        "settings: [{name: o, kind: object}, {name: o.p, kind: object}, {name: o.p.q, value: 1}]",
        _environments(dev="config: {o.p.r: $P}"),
        P="put",
    ),
    "escaped dots": _tap(r"config: {a\.b: 1, c: {d\.e: 2}, f\.g.h: 3}"),
    "escaped and plain dots meet": _tap(r"config: {a\.b: 1, a: {b: 2}, 'a.b': 3}"),
    "own settings replace the whole entry": _project(
        _LOCKED + "    settings: [{name: a, value: 2}]\n",
        {_LOCK: _lock(settings=[{"name": "a", "kind": "integer", "value": 1}, {"name": "b"}])},
    ),
    "a setting twice": _tap("settings: [{name: a, value: 1}, {name: a, value: 2}]"),
    "aliases": _tap(
        "settings: [{name: a, aliases: [b, c]}, {name: d, aliases: [e]}]\nconfig: {b: 1, e: 2}",
        _environments(dev="config: {a: 3, b: 3}", prod="config: {a: 3, b: 4}"),
    ),
    "config that is a list": _tap("config: [a]"),
    "config that is a text": _tap("config: a"),
    # --- variables ------------------------------------------------------------------------------
    "a variable of the process": _tap("config: {a: 1, b: 1}", TAP_X_A="7", TAP_X_C="8"),
    "odd names of variables": _tap(
        "settings: [{name: some-thing.else}, {name: camelCase}]",
        TAP_X_SOME_THING_ELSE="1",
        TAP_X_CAMELCASE="2",
    ),
    "two variables for one": _project(
        "plugins: {extractors: [{name: tap-x, namespace: other, config: {a: 1}}]}",
        TAP_X_A="1",
        OTHER_A="1",
    ),
    "by the namespace": _project(
        "plugins: {extractors: [{name: tap-x, namespace: other, config: {a: 1}}]}", OTHER_A="2"
    ),
    "by env aliases": _tap(
        "settings: [{name: a, env_aliases: [OLD]}, {name: b, kind: boolean, env_aliases: ['!NO_B']}]",
        OLD="1",
        NO_B="true",
    ),
    "by its own env": _tap("settings: [{name: a, env: OWN}]", OWN="1"),
    "by the generic name": _tap("config: {a: 1}", MELTANO_EXTRACT_A="2"),
    "of the .env file": Case(
        "",
        {
            **_tap("config: {a: 1, b: 1, c: $FROM, d: $P}").files,
            ".env": "TAP_X_A=2\nTAP_X_B=2\nFROM='x y'\nP=file\n# comment\nexport Q=\"${P}\"\nR\n",
        },
        {"TAP_X_B": "3", "P": "process"},
    ),
    "an env block of the project": _tap("config: {a: 1, b: $E}", "env: {TAP_X_A: 2, E: 5}\n"),
    "env blocks at every level": _tap(
        "config: {a: $A, b: $B, c: $C, d: $D}\nenv: {B: plugin, C: plugin, D: plugin}",
        "env: {A: project, B: project}\nenvironments:\n- name: dev\n  env: {C: 'e-$A', D: e}\n"
        "  config: {plugins: {extractors: [{name: tap-x, env: {D: deep}}]}}\n",
        A="process",
        D="process",
    ),
    "an env block beats everything": _tap(
        "config: {a: 1}\nenv: {TAP_X_A: from-env}",
        _environments(dev="config: {a: 2}", prod="env: {TAP_X_A: $P}"),
        TAP_X_A="process",
    ),
    "env blocks keep their text": _tap(
        "config: {a: $E}", "env: {S: 1, E: '${S}2'}\n" + _environments(dev="env: {E: 'x${S}'}")
    ),
    "env of other types": _tap(
        "config: {a: $A, b: $B, c: $C}\nenv: {C: 1.50}",
        "env: {A: true}\nenvironments: [{name: dev, env: {B: true, TAP_X_Q: 1}}]\n",
    ),
    "env with null": _tap("config: {a: 1}\nenv: {TAP_X_A: null}", "env: {P: null}\n"),
    "env that is a list": _tap("config: {a: 1}\nenv: [A]"),
    "env of the project that is a list": _tap("config: {a: 1}", "env: [A]\n"),
    "env of a lock file": _project(
        _LOCKED, {_LOCK: _lock(env={"TAP_L_A": "1"}, settings=[{"name": "a"}])}
    ),
    # --- expansion --------------------------------------------------------------------------------
    "what expands": _tap(
        r"config: {a: $P, b: '${P}', c: $low, d: '${low}', e: '\$P', f: '${P:-x}', g: $5, h: a$P.b,"
        r" i: '$P_Q', j: '${P}Q', k: $$P, l: '\\$P', m: '${}', n: '$', o: [$P, {x: $P}], q: '\${P}'}",
        P="put",
        low="small",
    ),
    "one pass": _tap("config: {a: $P}", P="$Q", Q="x"),
    "an unknown variable": _tap(
        "settings: [{name: c, value: 5}]\nconfig: {a: $NO, b: x$NO, c: $NO, d: [$NO]}",
        _environments(dev="config: {a: $NO, b: $NO}"),
    ),
    "strict mode": _tap("config: {a: $NO}", "ff: {strict_env_var_mode: true}\n"),
    "strict mode, as text": _tap("config: {a: $NO}", "ff.strict_env_var_mode: 'yes'\n"),
    "strict mode, in the environment's env": _tap(
        "config: {a: 1}",
        "ff: {strict_env_var_mode: true}\nenvironments: [{name: dev, env: {A: $NO}}]\n",
    ),
    "strict mode by a variable": _tap("config: {a: $NO}", MELTANO_FF_STRICT_ENV_VAR_MODE="1"),
    "strict mode that is a number": _tap("config: {a: $NO}", "ff: {strict_env_var_mode: 2}\n"),
    "strict mode that is nonsense": _tap("config: {a: $NO}", "ff: {strict_env_var_mode: 7}\n"),
    "variables of meltano": _tap(
        "config: {a: $MELTANO_EXTRACTOR_NAME, b: $MELTANO_EXTRACTOR_NAMESPACE, d: $MELTANO_ENVIRONMENT,"
        " c: $MELTANO_EXTRACTOR_VARIANT, e: $MELTANO_PROJECT_ROOT/x, f: $MELTANO_HUB_URL,"
        " g: $MELTANO_CLI_LOG_LEVEL, h: $MELTANO_STATE_BACKEND_URI, i: $MELTANO_DATABASE_URI,"
        " j: $MELTANO_PROJECT_ID, k: $MELTANO_SYS_DIR_ROOT, l: $MELTANO_ELT_BUFFER_SIZE}",
        "environments: [{name: dev}]\nproject_id: 22222222-2222-4222-8222-222222222222\n"
        "cli: {log_level: warning}\nstate_backend: {uri: 's3://$P'}\n",
        P="bucket",
    ),
    "a wrong setting of meltano's": _tap("config: {a: 1}", "cli: {log_level: loud}\n"),
    "settings in extras": _tap(
        "config: {a: 5, b: {c: [1]}}\nselect: [$TAP_X_A, $MELTANO_EXTRACT_A]\nx: $TAP_X_B_C\nz: $TAP_X_B"
    ),
    "settings in config": _tap("config: {a: 5, b: $TAP_X_A}"),
    # --- kinds ------------------------------------------------------------------------------------
    "kinds from variables": _tap(
        "settings: [{name: a, kind: integer}, {name: b, kind: boolean}, {name: c, kind: array},"
        " {name: d, kind: object}, {name: e, kind: string}, {name: f, kind: array}]",
        TAP_X_A=" 12 ",
        TAP_X_B="Yes",
        TAP_X_C="[1, 2]",
        TAP_X_D="{'k': 1}",
        TAP_X_E="5",
        TAP_X_F="('a', 'b')",
    ),
    "kinds guessed from values": _tap(
        "config: {a: 1, b: true, c: [1], d: {}, e: 5}",
        TAP_X_A="7",
        TAP_X_B="no",
        TAP_X_C="[3]",
        TAP_X_D='{"k": 1}',
    ),
    "no integer": _tap("settings: [{name: a, kind: integer}]\nconfig: {a: x}"),
    "no array": _tap("settings: [{name: a, kind: array}]\nconfig: {a: x}"),
    "no object": _tap("settings: [{name: a, kind: object}]\nconfig: {a: '[1]'}"),
    "a decimal from a variable": _tap("config: {a: 1.5}", TAP_X_A="2.5"),
    "a decimal": _tap("settings: [{name: a, kind: decimal, value: 1.5}]"),
    "options": _tap(
        "settings: [{name: a, kind: options, options: [{value: x}, {value: y}]}]",
        _environments(dev="config: {a: x}", prod="config: {a: z}"),
    ),
    "options without values": _tap(
        "settings: [{name: a, kind: options, options: [x]}]\nconfig: {a: x}"
    ),
    "dates by kind": _tap(
        "settings: [{name: a, kind: date_iso8601}, {name: b, kind: date_iso8601}]\n"
        "config: {a: 2024-01-02, b: '2024-01-02T00:00:00Z'}"
    ),
    "a date that is a number": _tap("settings: [{name: a, kind: date_iso8601}]\nconfig: {a: 5}"),
    "processors": _tap(
        "settings: [{name: a, kind: object, value_processor: nest_object},"
        " {name: b, value_post_processor: upcase_string},"
        " {name: c, value_processor: stringify}, {name: d, kind: array, value_processor: stringify}]\n"
        "config: {b: x, c: {d: 1}, d: [1]}\n",
        _environments(dev="config: {a: '{\"x.y\": 1}'}"),
    ),
    "an unknown processor": _tap("settings: [{name: a, value_processor: no, value: 1}]"),
    "an unknown kind": _tap("settings: [{name: a, kind: number}]"),
    "secrets": _tap(
        "settings: [{name: a, kind: password}, {name: b, sensitive: true}, {name: c, kind: oauth},"
        " {name: d, kind: password, sensitive: true}, {name: e, kind: hidden},"
        " {name: f, sensitive: true, kind: integer}, {name: g, sensitive: true}]\n"
        "config: {a: s, b: s, c: s, d: s, e: s, f: 5, h: $TAP_X_B}\nselect: [$TAP_X_B]"
    ),
    "secrets in objects": _tap(
        "settings: [{name: o, kind: object}, {name: o.k, sensitive: true, value: s}, {name: o.l, value: 1},"
        " {name: p.k, sensitive: true}, {name: p, kind: object, value: {x: 1}}]\n"
        "config: {p: {k: s}}\nz: $TAP_X_O"
    ),
    "secrets of objects, inherited": _project(
        """\
        plugins:
          extractors:
          - name: p
            namespace: p
            settings: [{name: o, kind: object, sensitive: true}, {name: o.k, sensitive: true}]
            config: {o: {k: s}}
          - {name: c, inherit_from: p, config: {o: {l: 1}}, select: [$C_O_K, $P_O_K]}
        """
    ),
    # --- extras -----------------------------------------------------------------------------------
    "extras": _tap(
        "select: [a.*, '!b.*']\nmetadata: {s: {f: {replication-method: FULL_TABLE}}}\n"
        "schema: {s: {f: {type: [string]}}}\nload_schema: $P\ncustom: {x: 1}\ndocs: https://x\n"
        "annotations: {x: 1}\nuse_cached_catalog: false\nselect_filter: [x]\n",
        _environments(
            dev="select: [c.*]\nmetadata: {s.f.replication-method: INCREMENTAL, t: {u: 1}}\nother: 1\n",
            prod="annotations: {y: 1}\nmetadata: {s: {g: {x: 1}}}",
        ),
        P="put",
    ),
    "extras by variables": _tap(
        "select: [a]", TAP_X__SELECT='["b"]', TAP_X__METADATA_S_F="x", TAP_X__LOAD_SCHEMA="y"
    ),
    "extras in config": _tap("config: {_select: [a], metadata: {a: {b: 1}}, _x: 1}"),
    "extras of a lock file": _project(
        _LOCKED,
        {_LOCK: _lock(select=["x.*"], metadata={"a": {"b": 1}}, custom=1, docs="x", repo="y")},
    ),
    "extras that are of another kind": _tap("select: text\nmetadata: [1]"),
    "extras that clash": _tap("metadata: {a: 1, a.b: 2}"),
    # --- inheritance ------------------------------------------------------------------------------
    "inheritance": _project(
        """\
        environments:
        - name: dev
          config:
            plugins:
              extractors:
              - {name: parent, config: {a: 3, b: 3, only_dev: 1}}
              - {name: child, config: {b: 4}}
        plugins:
          extractors:
          - name: parent
            namespace: parent_ns
            settings: [{name: a, value: 1}, {name: d, value: 1}, {name: o, kind: object}]
            config: {b: 2, c: $P, o: {x: 1, y: 2}}
            metadata: {s: {x: 1}}
            select: [a]
            load_schema: ls
          - name: child
            inherit_from: parent
            config: {c: 9, e: 1, o: {y: 3}}
            metadata: {s: {y: 2}}
          - {name: grand-child, inherit_from: child, env: {P: grand}, load_schema: null}
        """,
        P="put",
        PARENT_A="variable",
        CHILD_D="variable",
    ),
    "a child's own settings without a value": _project(
        "plugins: {extractors: [{name: p, namespace: p}, {name: c, inherit_from: p, settings: [{name: z}]}]}"
    ),
    "a child's null of its own": _project(
        "plugins: {extractors: [{name: p, namespace: p}, {name: c, inherit_from: p, config: {z: null}}]}"
    ),
    "a parent that fails": _project(
        """\
        plugins:
          extractors:
          - {name: p, namespace: p, settings: [{name: a, kind: integer}, {name: b, value: 1}], config: {a: x}}
          - {name: c, inherit_from: p}
          - {name: d, inherit_from: p, config: {a: 1, b: 1}}
        """,
        P_A="no integer",
    ),
    "secrets inherited": _project(
        """\
        plugins:
          extractors:
          - name: p
            namespace: p
            settings: [{name: a, sensitive: true}, {name: b, kind: integer, sensitive: true}]
            config: {a: x, b: 5}
          - {name: c, inherit_from: p}
        """
    ),
    "env inherited": _project(
        """\
        environments:
        - name: dev
          env: {E: environment}
          config: {plugins: {extractors: [{name: p, env: {F: deep}}]}}
        plugins:
          extractors:
          - {name: p, namespace: p, env: {E: parent, G: parent}, config: {a: $E, b: $F, c: $G}}
          - {name: c, inherit_from: p, config: {d: $E, e: $F, f: $MELTANO_EXTRACTOR_NAME}}
        """
    ),
    "a circle": _project(
        "plugins: {extractors: [{name: a, inherit_from: b}, {name: b, inherit_from: a}]}"
    ),
    "from itself": _project(
        "plugins: {extractors: [{name: a, namespace: a, inherit_from: a, config: {x: 1}}]}"
    ),
    "from a lock file": _project(
        "plugins: {extractors: [{name: a, inherit_from: tap-l}, {name: b, inherit_from: tap-l, variant: v},"
        " {name: c, inherit_from: tap-l, variant: w}]}",
        {
            _LOCK: _lock(
                settings=[{"name": "a", "value": 1, "aliases": ["b"], "env_aliases": ["OLD"]}]
            ),
            "plugins/extractors/tap-l--v.lock": _lock(
                variant="v", settings=[{"name": "b", "value": 2}]
            ),
        },
        OLD="1",
    ),
    "with a namespace of its own": _project(
        "plugins: {extractors: [{name: p, namespace: p, config: {a: 1}},"
        " {name: c-d, inherit_from: p, namespace: own}, {name: e-f, inherit_from: p}]}",
        OWN_A="2",
        E_F_A="3",
    ),
    "from another type": _project(
        "plugins: {extractors: [{name: p, namespace: p}], loaders: [{name: c, inherit_from: p}]}"
    ),
    # --- lock files --------------------------------------------------------------------------------
    "no lock file": _project(_LOCKED),
    "a lock file of another variant": _project(
        _LOCKED + "    variant: v\n", {"plugins/extractors/tap-l--v.lock": _lock(variant="other")}
    ),
    "a lock file without a variant": _project(_LOCKED, {_LOCK: _lock(variant=None)}),
    "an empty variant": _project(
        _LOCKED + "    variant: ''\n", {"plugins/extractors/tap-l.lock": _lock()}
    ),
    "the original variant": _project(
        _LOCKED + "    variant: original\n",
        {"plugins/extractors/tap-l--original.lock": _lock(variant="x", original=True)},
    ),
    "a default variant": _project(
        _LOCKED + "    default_variant: d\n",
        {"plugins/extractors/tap-l--d.lock": _lock(variant="d")},
    ),
    "a lock file that is no json": _project(_LOCKED, {_LOCK: "name: x\n"}),
    "a lock file that is a list": _project(_LOCKED, {_LOCK: "[]"}),
    "a lock file without a namespace": _project(
        _LOCKED, {_LOCK: '{"plugin_type": "extractors", "name": "tap-l"}'}
    ),
    "a lock file with a key of meltano's": _project(_LOCKED, {_LOCK: _lock(deprecated=True)}),
    "a lock file of another type": _project(
        _LOCKED, {_LOCK: _lock(plugin_type="utilities", settings=[{"name": "a.b"}])}
    ),
    "a lock file with repeated keys": _project(
        _LOCKED, {_LOCK: _lock(settings=[{"name": "a"}])[:-1] + ', "namespace": "n2"}'}
    ),
    "a custom plug-in beside a lock file": _project(
        _LOCKED + "    namespace: own\n", {_LOCK: _lock(settings=[{"name": "a", "value": 1}])}
    ),
    # --- types ---------------------------------------------------------------------------------------
    "every type": _project(
        "plugins:\n"
        + "".join(
            f"  {type_}:\n  - name: p-{type_}\n    namespace: n\n    config: {{a.b: 1, c: null, d: {{e: 2}}, o: {{}}}}\n"
            f"    settings: [{{name: f, kind: object, value: {{x: 1}}}}, {{name: f.y, value: 2}}, {{name: g}}]\n"
            "    vars: {x: {y: 1}}\n    update: {a: true}\n    package_name: x\n    dialect: y\n"
            for type_ in (
                "extractors",
                "loaders",
                "transforms",
                "orchestrators",
                "transformers",
                "files",
                "utilities",
                "mappings",
            )
        ),
    ),
    "the same name in two types": _project(
        "plugins: {extractors: [{name: x, namespace: x, config: {a: 1}}],"
        " loaders: [{name: x, namespace: x, config: {a: 2}}]}\n"
        "environments: [{name: dev, config: {plugins: {loaders: [{name: x, config: {a: 3}}]}}}]\n"
    ),
    "airflow": _project(
        "plugins: {orchestrators: [{name: airflow, namespace: airflow, config: {core.a: true, core: {b: null}, x: 1}},"
        " {name: flow, inherit_from: airflow}]}"
    ),
    "superset": _project(
        "plugins: {utilities: [{name: superset, namespace: superset, config: {a.b: 1}}]}"
    ),
    "mappings": _project(
        """\
        environments:
        - {name: dev, config: {plugins: {mappers: [{name: mapper, config: {b: 5, d: 5}}]}}}
        plugins:
          mappers:
          - name: mapper
            namespace: mapper
            settings: [{name: a, value: 1}]
            config: {b: 1, c: 1}
            mappings:
            - {name: one, config: {b: 2, x: $MELTANO_MAPPER_NAME}}
            - {name: two}
            - {name: mapper, config: {never: 1}}
            - {config: {never: 1}}
        """,
        MAPPER_A="variable",
    ),
    "mappings of one name": _project(
        "plugins: {mappers: [{name: m, namespace: m, mappings: [{name: x}, {name: x}]}]}"
    ),
    "mappings and a mapper without a definition": _project(
        "plugins: {mappers: [{name: m, namespace: m, mappings: [{name: x}]}, {name: unknown}]}"
    ),
    "mappings that are null": _project(
        "plugins: {mappers: [{name: m, namespace: m, mappings: null}]}"
    ),
    "inheriting from a mapping": _project(
        "plugins: {mappers: [{name: m, namespace: m, config: {a: 1}, mappings: [{name: x, config: {b: 1}}]},"
        " {name: h, inherit_from: x}]}"
    ),
    # --- what stands twice, or is malformed -------------------------------------------------------
    "a plug-in twice": _project(
        "plugins: {extractors: [{name: x, namespace: x, config: {a: 1}}, {name: x, namespace: x, config: {a: 2}}]}"
    ),
    "an environment twice": _project(
        "environments: [{name: dev, env: {X_A: 1}}, {name: dev, env: {X_A: 2}}]\n"
        "plugins: {extractors: [{name: x, namespace: x, config: {a: 0}}]}"
    ),
    "a plug-in twice in an environment": _tap(
        "config: {a: 1}",
        _environments(dev="config: {b: 1}\n").rstrip("\n")
        + "\n      - {name: tap-x, config: {b: 2}}\n",
    ),
    "environments that are told apart by case": _project(
        "environments: [{name: Dev, env: {X_A: 1}}, {name: dev}]\n"
        "plugins: {extractors: [{name: x, namespace: x, config: {a: 0}}]}"
    ),
    "an unknown key of an environment": _project(
        "environments: [{name: dev, confg: {}}]\n" + _CUSTOM
    ),
    "an environment with annotations": _project(
        "environments: [{name: dev, annotations: {a: 1}}]\n" + _CUSTOM
    ),
    "a number as an environment": _project("environments: [{name: 5}]\n" + _CUSTOM),
    "a colon in an environment": _project("environments: [{name: 'a:b'}]\n" + _CUSTOM),
    "a colon in a plug-in": _project(
        "plugins: {extractors: [{name: 'a:b', namespace: x}, {name: y, namespace: y}]}"
    ),
    "an unknown type in an environment": _project(
        "environments: [{name: dev, config: {plugins: {taps: []}}}]\n" + _CUSTOM
    ),
    "an unknown type": _project(_CUSTOM + "  taps: []\n"),
    "a plug-in without a name": _project(_CUSTOM + "  loaders: [{namespace: x}]\n"),
    "a plug-in that is a text": _project(_CUSTOM + "  loaders: [x]\n"),
    "plug-ins that are null": _project(_CUSTOM + "  loaders:\n"),
    "environments that are null": _project(_CUSTOM + "environments:\n"),
    "settings that are a map": _project(
        _CUSTOM + "  loaders: [{name: x, namespace: x, settings: {name: a}}]\n"
    ),
    "a setting without a name": _project(
        _CUSTOM + "  loaders: [{name: x, namespace: x, settings: [{kind: string}]}]\n"
    ),
    "a schedule without an interval": _project(_CUSTOM + "schedules: [{name: s, job: j}]\n"),
    "a schedule without a transform": _project(
        _CUSTOM + "schedules: [{name: s, extractor: a, loader: b, interval: '@daily'}]\n"
    ),
    "a schedule of a job": _project(
        _CUSTOM + "schedules: [{name: s, job: j, interval: '@daily'}]\n"
    ),
    "a job with an unknown key": _project(_CUSTOM + "jobs: [{name: j, tasks: [a b], more: 1}]\n"),
    "a job without tasks": _project(_CUSTOM + "jobs: [{name: j}]\n"),
    "a job": _project(_CUSTOM + "jobs: [{name: j, tasks: [a b, [c d, e]]}]\n"),
    "other keys": _project(_CUSTOM + "whatever: {a: [1], b: {c: 1}}\n"),
    "other keys that are no text": _project(_CUSTOM + "5: x\n"),
    "other keys that are no text, nested": _project(_CUSTOM + "whatever: {5: x}\n"),
    # --- included files --------------------------------------------------------------------------
    "included files": _project(
        "include_paths: ['*.meltano.yml', deep/**/*.yml, none/*.yml]\nenv: {A: 1, B: 1}\n"
        + _CUSTOM
        + "    config: {a: $A, b: $B}\n",
        {
            "x.meltano.yml": "plugins: {extractors: [{name: tap-y, namespace: tap_y, config: {a: $B}}]}\nenv: {B: 2}\n",
            "deep/a/b/c.yml": "environments: [{name: dev, env: {A: 3}}]\n",
            "deep/d.yml": "plugins: {loaders: [{name: t, namespace: t}]}\n",
            "unseen.yml": "plugins: {extractors: [{name: tap-no, namespace: no}]}\n",
        },
    ),
    "the first entry wins over an included one": _project(
        "include_paths: [m.yml]\n" + _CUSTOM + "    config: {a: 1}\n",
        {"m.yml": "plugins: {extractors: [{name: tap-x, namespace: z, config: {a: 2}}]}\n"},
    ),
    "a plug-in in two included files": _project(
        "include_paths: [m.yml, n.yml]\n" + _CUSTOM,
        dict.fromkeys(("m.yml", "n.yml"), "plugins: {extractors: [{name: y, namespace: y}]}\n"),
    ),
    "an environment in two included files": _project(
        "include_paths: [m.yml, n.yml]\n" + _CUSTOM,
        dict.fromkeys(("m.yml", "n.yml"), "environments: [{name: dev}]\n"),
    ),
    "an empty included file": _project("include_paths: [m.yml]\n" + _CUSTOM, {"m.yml": ""}),
    "an included file that is a list": _project(
        "include_paths: [m.yml]\n" + _CUSTOM, {"m.yml": "[]"}
    ),
    "an included file that is no yaml": _project(
        "include_paths: [m.yml]\n" + _CUSTOM, {"m.yml": "a: ["}
    ),
    "an included null": _project("include_paths: [m.yml]\n" + _CUSTOM, {"m.yml": "plugins:\n"}),
    "an included folder": _project("include_paths: ['sub*']\n" + _CUSTOM, {"sub/x.yml": "{}"}),
    "a join with null": _project(
        "include_paths: [m.yml]\nenvironments:\n" + _CUSTOM,
        {"m.yml": "environments: [{name: dev}]\n"},
    ),
    "a map joined with a text": _project(
        "include_paths: [m.yml]\nextra: text\n" + _CUSTOM, {"m.yml": "extra: {a: 1}\n"}
    ),
    "a text over a map": _project(
        "include_paths: [m.yml]\nextra: {a: 1}\n" + _CUSTOM, {"m.yml": "extra: text\n"}
    ),
    "include_paths that are null": _project("include_paths:\n" + _CUSTOM),
    "include_paths that are a text": _project("include_paths: m.yml\n" + _CUSTOM),
    "an absolute include": _project("include_paths: [/etc/hostname]\n" + _CUSTOM),
    "an include beyond the project": _project("include_paths: ['../*/meltano.yml']\n" + _CUSTOM),
    "the project includes itself": _project("include_paths: ['*.yml', ./meltano.yml]\n" + _CUSTOM),
    "an include of everything below": _project(
        "include_paths: ['**/*.yml']\n" + _CUSTOM, {"a/b.yml": "{}", "c.yml": "env: {TAP_X_A: 1}\n"}
    ),
    "an include that is no text": _project("include_paths: [5]\n" + _CUSTOM),
    "an include with brackets": _project(
        "include_paths: ['[ab].yml', '?x.yml']\n" + _CUSTOM,
        {"a.yml": "env: {A: 1}\n", "yx.yml": "env: {B: 1}\n", "c.yml": "- no\n"},
    ),
    "an included mapping": _project(
        "include_paths: [m.yml]\n" + _CUSTOM,
        {
            "m.yml": "plugins: {mappers: [{name: m, namespace: m, mappings: [{name: x, config: {a: 1}}]}]}\n"
        },
    ),
    # --- parts that no setting comes from -------------------------------------------------------
    "commands": _tap(
        "commands: {a: b c, d: null, e: {args: f, executable: g, description: h},"
        " i: {container_spec: {image: j, env: {K: l}}}}\nrequires: {files: [{name: a, variant: b}]}"
    ),
    "commands that are a list": _tap("commands: [a]"),
    "commands that are no": _tap("commands: false"),
    "a command with an unknown key": _tap("commands: {a: {args: b, arg: c}}"),
    "a container with an unknown key": _tap("commands: {a: {container_spec: {images: b}}}"),
    "requirements that are a map": _tap("requires: {files: {name: a}}"),
    "requirements that are texts": _tap("requires: {files: [a]}"),
    "capabilities that are a number": _tap("capabilities: 5"),
    "a validation that is no list": _tap("settings_group_validation: true"),
    "a lock file with wrong commands": _project(_LOCKED, {_LOCK: _lock(commands=["a"])}),
    "a lock file with an empty setting": _project(_LOCKED, {_LOCK: _lock(settings=[None])}),
    "a lock file with a byte order mark": _project(_LOCKED, {_LOCK: "\ufeff" + _lock()}),
    "an empty setting": _project(
        "plugins: {extractors: [{name: x, namespace: x, settings: [{name: a}, null]}, {name: y, namespace: y}]}"
    ),
    "keys of python": _tap("settings: [{name: a, self: 1}]"),
    "keys of python at the top": _project("self: 1\n" + _CUSTOM),
    "a variant that is a number": _tap("variant: 1.0\nconfig: {a: 1}"),
    "a namespace that is a number": _project("plugins: {extractors: [{name: x, namespace: 5}]}"),
    "the name of a type in an environment": _tap(
        "config: {a: 1}", _environments(dev="plugin_type: extractors")
    ),
    "aliases that are a text": _tap("settings: [{name: z, aliases: ab}]\nconfig: {a: 1}"),
    "an env that is a number": _tap("settings: [{name: a, env: 5, value: 1}]"),
    "lists that are empty in another way": _project(
        "environments: [{name: dev, config: {plugins: {extractors: {}}}}]\njobs: {}\n"
        + _CUSTOM
        + "  loaders: ''\n  taps: {}\n  mappers: [{name: m, namespace: m, mappings: {}}]\n"
    ),
    "names of jobs and schedules": _project(
        _CUSTOM
        + "jobs: [{name: 'a:b', tasks: [c]}, {name: 5, tasks: [d]}, null]\n"
        + "schedules: [{name: 'e:f', job: a, interval: '@daily'}]\n"
    ),
    "an empty environment": _project(
        "environments:\n- name: dev\n-\n- name: prod\n" + _CUSTOM + "    config: {a: 1}\n"
    ),
    "a strict suffix of states": _project(
        "ff: {strict_env_var_mode: true}\n"
        "environments: [{name: dev, state_id_suffix: $NOPE}, {name: prod, state_id_suffix: $P}]\n"
        + _CUSTOM,
        P="put",
    ),
    "versions of meltano": _project("requires_meltano: '>=3'\n" + _CUSTOM),
    "no versions of meltano": _project("requires_meltano: three\n" + _CUSTOM),
    "a version of meltano that is a number": _project("requires_meltano: 3\n" + _CUSTOM),
    "moments": _tap(
        "settings:\n"
        + "".join(
            f"- {{name: m{number}, kind: date_iso8601, value: '{text}'}}\n"
            for number, text in enumerate(
                (
                    "2024-01-02",
                    "2024-01-02T03:04",
                    "2024-1-2",
                    "2024/01/02 3:04",
                    "2024-13-02",
                    "2024-01-02T03:04:05+0530",
                    "2024-01-02 03:04 UTC",
                    "2024-01-02T03:04:05.5z",
                    "2024-02-30",
                    "2024-01-02T03:04:05+0215",
                    "no moment",
                    "",
                )
            )
        )
    ),
    "merged twice": _tap("config:\n  a: &a {x: 1}\n  b:\n    <<: *a\n    <<: *a\n"),
    "a key that is a list": _tap("config: {[a, b]: 1}"),
    "a key that is a list, in a list": _tap("config: {a: [{[b]: 1}]}"),
    "a key that is a list, at the top": _project("? [a]\n: 1\n" + _CUSTOM),
    "a set": _tap("config: {a: !!set {x, y}}"),
    "an included entry without a name": _project(
        "include_paths: [m.yml]\n" + _CUSTOM, {"m.yml": "jobs: [null]\n"}
    ),
    "an included number twice": _project(
        "include_paths: [m.yml]\n" + _CUSTOM,
        {"m.yml": "jobs: [{name: 1, tasks: []}, {name: 1, tasks: []}]\n"},
    ),
}
CASES = [Case(name, case.files, case.variables) for name, case in _CASES.items()]
