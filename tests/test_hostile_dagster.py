"""The same in Dagster: sensors, launches and checks on hostile repositories, and all they record."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping

import dagster as dg
import pytest

from dataops_dagster.orchestration import naming
from dataops_dagster.text import inert_lines
from tests.bad_server import World
from tests.dagster_shop import DagsterShop
from tests.hostile import PAYLOADS, SECRET
from tests.test_hostile import new, plant_several, site, template, world

__all__ = ["template", "world"]
only = pytest.mark.parametrize
pytestmark = pytest.mark.slow


def texts(found: object) -> Iterator[str]:
    """Yield every text in what Dagster keeps, however deep."""
    left, seen = [found], dict[int, object]()
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif id(each) in seen or isinstance(each, type):
            continue
        elif isinstance(each, Mapping):
            left += [*each, *each.values()]
        elif hasattr(each, "_fields"):  # a record, over which nobody may iterate
            left += [getattr(each, name) for name in each._fields]
        elif isinstance(each, list | tuple | set | frozenset):
            left += each
        elif hasattr(each, "__dict__"):
            left.append(vars(each))
        seen[id(each)] = each  # kept, so that nothing else gets its id


def do_all(shop: DagsterShop, side: str) -> Iterator[object]:
    """Look, promote, run, deploy and check as Dagster does; yields all that comes of it."""
    for _ in range(2):
        for sensor in ("heads_shop", "gates_shop"):
            yield vars(shop.tick(sensor))
    shop.run_workspace("staging")
    shop.deploy()
    shop.materialize(side if side != "dev" else "staging")
    checks = shop.defs.resolve_asset_graph().asset_check_keys
    for key in sorted(key for key in checks if key.name != naming.RUN_CHECK):
        shop.execute(key)
    for run in shop.instance.get_runs():
        yield run.tags
        yield [
            (entry.user_message, entry.dagster_event and entry.dagster_event.event_specific_data)
            for entry in shop.instance.all_logs(run.run_id)
        ]


def nothing_acts(world: World, side: str) -> list[str]:
    """Do it all; returns every text that was told, having looked at each."""
    with dg.DagsterInstance.ephemeral() as instance:
        told = [
            text for each in do_all(DagsterShop(world.shop, instance), side) for text in texts(each)
        ]
    assert not (world.root / "CANARY").exists()
    assert [text for text in told if text != inert_lines(text)] == []
    assert [text for text in told if SECRET in text] == []
    return told


@only("payload", [p for p in PAYLOADS if p.refused and not (p.huge or p.hangs)], ids=str)
def test_a_payload_that_is_refused_does_not_act_in_dagster_either(world: World, payload):
    new(world)
    payload.plant(site(world, "dev"))
    told = "\n".join(nothing_acts(world, "dev"))
    assert re.search(r"(?s)staging: .*asking the server of|taking what|git .* for", told), told


@only("side", ["dev", "staging"])
@only("seed", range(4))
def test_payloads_that_get_in_do_not_act_in_dagster_either(world: World, seed, side):
    new(world)
    chosen = plant_several(world, random.Random(100 + seed), 6)
    print([str(payload) for payload in chosen])
    # Who may push releases to a target can stop promotions into it, and nothing more.
    ends = ("promoted", "was rewritten")
    assert any(end in text for text in nothing_acts(world, side) for end in ends)
