"""No token of Tinybird's stands in any argument, line, error or file, whatever goes wrong."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import pytest

from dataops_dagster import process
from dataops_dagster.errors import DataOpsError, ToolError
from dataops_dagster.settings_tinybird import Branches, Dialect
from dataops_dagster.testing.tinybird import Fault, account
from dataops_dagster.tinybird import command, deploying, recreation, testing, trying
from dataops_dagster.tinybird.command import Tb
from dataops_dagster.tinybird.model import Listed
from dataops_dagster.tinybird.site import Order
from tests.leaks import watched
from tests.tinybird_site import Site, add_endpoint, classic_site, forward_site, stand_in

_PART = 12
"""So many letters of a token in a row are no accident."""

__all__ = ["classic_site", "forward_site", "stand_in"]


def parts_of(token: str) -> set[str]:
    """Return the token's parts that would betray it; what all tokens begin with does not."""
    private = token[token.rindex(".") + 1 :]
    return {private[i : i + _PART] for i in range(len(private) - _PART + 1)} | {
        token,
        quote(token, safe=""),
        token[-8:],
    }


SITUATIONS = {
    "a deployment": "seed 2",
    "a changed deployment, down once it began": "INCONSISTENT|tb deploy ended",
    "a changed deployment, the server fails": "INCONSISTENT|tb deploy --check ended",
    "a test": "test",
    "a trial": "branch .* is deleted",
    "a trial, down once it began": "branch .* could not be deleted",
    "a recreation": "seed 2",
}
"""What is done and goes wrong, and the words in which that is told."""


def work(site: Site, folder: Path, what: str) -> str:
    """Do one thing, and return all that it says: lines, answer, error."""
    change = add_endpoint("short_rides") if "changed" in what else lambda _: None
    shares = [{"datasource": "rides", "workspace": "other_acme"}] if "deployment" in what else []
    order = site.order(folder, change, shares=shares, user_token_variable="TB_USER_TOKEN",
                       fixtures="when_empty", recreate=True)  # fmt: skip
    site.lines.clear()
    try:
        answer = _answer(site, order, what)
    except DataOpsError as error:
        answer = f"{error!s} {error!r} {error.__cause__!r}"
    return "\n".join([*site.lines, repr(answer), repr(order)])


def _answer(site: Site, order: Order, what: str) -> object:
    if "deployment" in what:
        return deploying.deploy(order)
    if "test" in what:
        return testing.test(order, site.stand_in.url)
    if "trial" in what:
        now = datetime.now(timezone.utc)
        return trying.try_out(order, Branches(), local=site.stand_in.url, now=now)
    place = recreation.renew(order, site.workspace.name)
    assert isinstance(place, Listed)
    return place, recreation.refill(order, place)


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("name", ["forward_site", "classic_site"])
def test_no_token_is_seen(request, tmp_path, *, name, situation, capfd, monkeypatch):
    site: Site = request.getfixturevalue(name)
    tokens = [site.workspace.token, site.stand_in.user_token]
    make = account.make_token
    monkeypatch.setattr(account, "make_token", lambda: tokens.append(make()) or tokens[-1])
    site.stand_in.create_workspace("other_acme")
    folder = tmp_path / "work"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        if "fails" in situation:
            site.stand_in.faults.requests.append(Fault("POST", "/v./(deploy|pipes)", times=50))
        if "down" in situation:
            site.on_line = lambda line: (
                stack.enter_context(site.stand_in.down())
                if line.startswith("plan ") and site.stand_in._server
                else None
            )
        with watched(tmp_path) as watch:
            told = work(site, folder, situation)
    told += "".join(capfd.readouterr())
    assert re.search(SITUATIONS[situation], told), told
    assert any(b"tb\x00" in a for a in watch.arguments), "tb was not seen"
    assert watch.files
    assert watch.looks > 1
    assert len(tokens) > (3 if "trial" in situation or "recreation" in situation else 2)
    for part in set().union(*map(parts_of, tokens)):
        assert part not in told, part
        assert not watch.holds(part.encode()), part


def test_what_tb_writes_only_its_owner_reads(tmp_path):
    tb = Tb("sh", Dialect.FORWARD, "here", tmp_path, tmp_path, time.monotonic() + 5, print, {}, ())
    assert tb.run("-c", "umask; mkdir left; echo token > left/.tinyb").lines == ["0077"]
    assert stat.S_IMODE((tmp_path / "left").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "left" / ".tinyb").stat().st_mode) == 0o600


def test_the_leak_would_be_seen(tmp_path):
    (tmp_path / "left").write_text("p.abc.a-token-of-somebody")
    with watched(tmp_path) as watch:
        script = "sleep 0.3 # p.abc.another-token-in-its-arguments"
        process.run(["sh", "-c", script], env=dict(os.environ), deadline=10)
    assert watch.holds(b"a-token-of-somebody")
    assert watch.holds(b"another-token-in-its-arguments")


def test_a_secret_among_the_arguments_is_refused(tmp_path):
    tb = Tb(
        "true", Dialect.FORWARD, "here", tmp_path, tmp_path, time.monotonic() + 5, print, {},
        ("a-secret",),
    )  # fmt: skip
    with pytest.raises(ToolError, match="a secret stands among its arguments"):
        tb.run("--token", "a-secret")
    with pytest.raises(ToolError, match="it would print tokens"):
        tb.run("--debug")
    assert "a-secret" not in repr(tb)


@pytest.mark.parametrize(
    "shown",
    ["{}", "?token={}&x=1", "p.ey...{last8}", "{first10}...{last10}", "TB_TOKEN='{quoted}'"],
)
def test_a_token_is_taken_out_however_it_is_shown(shown):
    token = "p.eyJ1IjogImFiYyIsICJpZCI6ICJkZWYifQ.Zm9v+Ymf/XJiYXo_cXV4LTEyMzQ"
    line = shown.format(
        token,
        quoted=quote(token, safe=""),
        last8=token[-8:],
        first10=token[:10],
        last10=token[-10:],
    )
    told = process.clean(line, command.forms([token]))
    assert token[-8:] not in told
    assert token[:10] not in told
    assert quote(token, safe="") not in told
