"""Whatever a server does: a typed answer in time, and a target that is unchanged or complete."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path

import pytest

from dataops_dagster import promotion, remotes
from dataops_dagster.errors import ToolError
from dataops_dagster.heads import look_up, look_up_all
from dataops_dagster.model import NothingToDo, Promoted, Raced, Rejected
from dataops_dagster.store import Store
from tests.bad_server import (
    FETCH,
    FILE,
    FIRST,
    HTTP,
    LOOK_UP,
    OLD,
    PROMOTED,
    PUSH,
    PUSH_OFFER,
    TRANSPORTS,
    UPLOAD_OFFER,
    World,
    between,
    cuts,
    drips,
    endless,
    hangs_up,
    make_template,
    make_world,
    never,
    nothing_is_left,
    packet,
    refs,
    rewrites,
    says,
    slow,
    swallows,
    within,
)
from tests.conftest import NOW
from tests.repositories import git

ESCAPES = b"no\x1b[31m \x1b]0;title\x07 \xe2\x80\xae entry"
SECONDS = 1.0
"""The deadline of what a test lets hang."""

pytestmark = pytest.mark.slow
only = pytest.mark.parametrize
over_http = only("transport", [HTTP], indirect=True)
over_an_old_server = only("transport", [OLD], indirect=True)


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Callable[[str], Path]:
    """Make what worlds are copied from, once."""
    return functools.cache(lambda holds: make_template(tmp_path_factory.mktemp("template"), holds))


@pytest.fixture(params=[HTTP, OLD])
def transport(request) -> str:
    return request.param


@pytest.fixture
def made(tmp_path: Path, transport: str, templates, monkeypatch) -> Iterator[Callable]:
    """Make the test's world; after the test nothing of ours is left running or lying about."""
    monkeypatch.setattr(remotes, "_plain", set())
    worlds: list[World] = []

    def make(holds: str) -> World:
        worlds.append(make_world(tmp_path, transport, templates(holds)))
        return worlds[0]

    with nothing_is_left(tmp_path):
        yield make
        for world in worlds:
            if world.server:
                world.server.close()


@pytest.fixture
def world(made) -> World:
    """A project in dev, and a staging with a first commit of its own."""
    return made(FIRST)


@pytest.fixture
def promoted(made) -> World:
    """A staging that dev was promoted to before."""
    return made(PROMOTED)


@pytest.fixture
def short(monkeypatch) -> Callable[[World, str], None]:
    """Give one of the three steps of a promotion a deadline that a test can wait for."""

    def shorten(world: World, step: str) -> None:
        if step == LOOK_UP:
            monkeypatch.setattr("dataops_dagster.heads.LOOKUP_SECONDS", SECONDS)
        elif step == FETCH:
            world.shop.store = Store(world.root / "cache", "shop", SECONDS)
        else:
            monkeypatch.setattr("dataops_dagster.store.NETWORK_SECONDS", SECONDS)

    return shorten


def hook(world: World, name: str, script: str) -> Path:
    """Give the target's repository a hook."""
    path = world.staging.bare / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def kinds(world: World, step: str) -> tuple[str, ...]:
    """Return the requests that a step makes of this kind of server."""
    if world.transport == OLD and step == LOOK_UP:
        return (LOOK_UP, UPLOAD_OFFER)
    return (step,)


def side(step: str) -> str:
    return "staging" if step == PUSH else "dev"


def unchanged(world: World) -> None:
    assert refs(world.staging) == world.before


def failed(world: World, *, hint: str | None = None, retryable: bool | None = None) -> ToolError:
    """Promote, which must fail clearly and change nothing."""
    answer = world.attempt()
    assert isinstance(answer, ToolError), answer
    unchanged(world)
    assert str(answer).replace("\n", "").isprintable()
    if hint is not None:
        assert hint in answer.hint
        assert answer.hint
    if retryable is not None:
        assert answer.retryable is retryable, answer
    return answer


# --- servers that take their time -------------------------------------------------------------

STEPS = [LOOK_UP, FETCH, PUSH]


@only("step", STEPS)
def test_a_server_that_never_answers_is_an_error_within_the_deadline(world: World, short, step):
    short(world, step)
    world.server.fails(never, *kinds(world, step), path=side(step))
    with within(SECONDS, 5):
        answer = failed(world, retryable=True)
    assert "no answer within" in str(answer)


DRIPS = [(HTTP, step, body) for step in STEPS for body in (False, True)]


@only(("transport", "step", "body"), [*DRIPS, (OLD, FETCH, True)], indirect=["transport"])
def test_a_server_that_drips_is_an_error_within_the_deadline(world: World, short, step, body):
    short(world, step)
    world.server.fails(drips(body=body), *kinds(world, step), path=side(step))
    with within(SECONDS, 5):
        answer = world.attempt()
    assert isinstance(answer, ToolError)
    assert answer.retryable
    world.server.faults.clear()
    assert isinstance(world.attempt(), Promoted | NothingToDo)


@over_http
def test_a_server_that_takes_nothing_of_a_push_is_an_error_within_the_deadline(
    world: World, monkeypatch
):
    big = os.urandom(6_000_000)
    world.dev.commit({"big.bin": big})
    monkeypatch.setattr("dataops_dagster.store.NETWORK_SECONDS", 2 * SECONDS)
    world.server.stops_reading = "git-receive-pack"
    with within(2 * SECONDS, 6):
        failed(world, retryable=True)


@over_http
def test_a_server_whose_every_answer_is_late_and_unreadable_gets_no_second_deadline(
    world: World, short
):
    short(world, LOOK_UP)
    late = slow(0.8 * SECONDS, says(200, b"rubbish"))
    world.server.fails(late, LOOK_UP, UPLOAD_OFFER, path="dev")
    with within(SECONDS, 1):
        failed(world)


REFS = packet(b"1" * 40 + b" refs/heads/other\n") * 1000
ENDLESS = {
    "packets": (endless(REFS, pause=0.01), LOOK_UP),
    "rubbish": (endless(b"x" * 65_536, pause=0.01), LOOK_UP),
    "a pack": (endless(packet(b"\x01" + b"x" * 60_000), pause=0.01), FETCH),
    "an offer": (endless(packet(b"version 2\n") * 1000, pause=0.01), UPLOAD_OFFER),
}


@over_http
@only(("fault", "kind"), ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_that_never_ends_is_cut_at_the_deadline(world: World, short, fault, kind):
    short(world, LOOK_UP if kind == LOOK_UP else FETCH)
    world.server.fails(fault, kind, path="dev")
    with within(SECONDS):
        answer = failed(world, retryable=True)
    assert "no answer within" in str(answer)


@over_http
@pytest.mark.slow
def test_an_answer_that_never_ends_and_comes_fast_is_cut_at_the_deadline(world: World, short):
    short(world, LOOK_UP)
    world.server.fails(endless(REFS), LOOK_UP, path="dev")
    with within(SECONDS):
        failed(world)


@only("where", ["pre-receive", "update"])
@only("transport", [FILE, HTTP, OLD], indirect=True)
def test_a_hook_that_hangs_is_an_error_within_the_deadline(world: World, short, where):
    go = world.root / "go"
    hook(world, where, f"for i in $(seq 80); do test -e {go} && exit 0; sleep 0.1; done")
    short(world, PUSH)
    with within(SECONDS, 6):
        failed(world, retryable=True)
    go.touch()
    (world.staging.bare / "hooks" / where).unlink()


# --- servers that break off -------------------------------------------------------------------


@over_http
@only("length", [True, False], ids=["of a known length", "of an unknown length"])
@only("kind", [LOOK_UP, FETCH])
@only("part", [0.3, 0.9])
def test_an_answer_that_broke_off_once_is_asked_for_again_or_worth_another_try(
    world: World, kind, part, length
):
    world.server.fails(cuts(part, length=length), kind, times=1, path="dev")
    if length:
        world.promoted()
    else:
        world.healed()
    assert world.staging.tree() == world.dev.tree()


@over_http
@only("kind", [LOOK_UP, FETCH])
@only("part", [0.5])
def test_an_answer_that_always_breaks_off_is_an_error(world: World, kind, part):
    world.server.fails(cuts(part), kind, path="dev")
    failed(world, retryable=True)


@over_an_old_server
@only("part", [0, 0.5])
def test_an_old_server_whose_packs_break_off_is_an_error_and_heals(world: World, part):
    world.server.fails(cuts(part), FETCH, path="dev")
    failed(world)
    world.server.faults.clear()
    world.promoted()


@over_http
@only("cut", [b"00", b"0", b"003"])
def test_a_look_up_that_ends_within_a_packets_length_is_not_believed(world: World, cut):
    """An answer of unknown length may break off anywhere: what comes after may be the branch."""
    fault = rewrites(lambda _: cut)
    world.server.fails(fault, LOOK_UP, times=1, path="dev")
    answer = world.attempt()
    assert not isinstance(answer, Rejected), answer


@only("applied", [True, False])
def test_a_push_that_was_not_answered_is_found_out_by_the_next_attempt(world: World, applied):
    world.server.fails(swallows(applied=applied), PUSH, times=1, path="staging")
    answer = world.attempt()
    if isinstance(answer, ToolError):
        assert answer.retryable
        assert (refs(world.staging) != world.before) == applied
        answer = world.attempt()
        assert isinstance(answer, NothingToDo if applied else Promoted)
    else:
        assert isinstance(answer, NothingToDo | Promoted)
    assert world.staging.tree() == world.dev.tree()
    assert len(world.staging.tags()) == 1


@over_http
def test_a_push_that_was_not_answered_is_not_sent_twice(world: World):
    world.server.fails(swallows(applied=False), PUSH, path="staging")
    failed(world, retryable=True)
    assert world.server.count(PUSH) == 1


def said_to_be_done(content: bytes) -> bytes:
    """Return the report of a push in which every ref was moved."""
    told = b"".join(packet(b"ok " + ref + b"\n") for ref in re.findall(rb"refs/[^ \0\n]+", content))
    return packet(b"\x01" + packet(b"unpack ok\n") + told + b"0000") + b"0000"


@only("transport", [HTTP, OLD], indirect=True)
def test_a_push_that_is_said_to_be_done_and_is_not_there_is_no_promotion(world: World, monkeypatch):
    monkeypatch.setattr(remotes, "_PAUSES", (0, 0.01))

    def lies(handler, body) -> None:
        kind = {"Content-Type": "application/x-git-receive-pack-result"}
        handler._answer(200, kind, said_to_be_done(body[: body.index(b"0000PACK")]))

    world.server.fails(lies, PUSH, times=1, path="staging")
    answer = failed(world, retryable=True)
    assert "does not show" in str(answer)
    world.promoted()


@over_http
def test_a_push_that_is_shown_a_moment_later_is_a_promotion(world: World, monkeypatch):
    monkeypatch.setattr(remotes, "_PAUSES", (0, 0.01))
    late = world.server.fails(says(200, b"0000"), LOOK_UP, times=1, path="staging")
    late.met = 1  # only the look behind the push
    world.server.fails(between(lambda: setattr(late, "met", 0)), PUSH, times=1, path="staging")
    world.promoted()
    assert late.met == 1


@only("transport", [HTTP, OLD], indirect=True)
def test_a_push_that_is_said_to_be_refused_and_is_there_is_made_once(world: World):
    def lies(handler, body) -> None:
        status, headers, _ = handler.real_answer(body)
        refused = said_to_be_done(body[: body.index(b"0000PACK")]).replace(b"ok refs", b"ng refs")
        refused = re.sub(
            rb"00..ng (refs/\S+)\n", lambda m: packet(b"ng " + m[1] + b" no\n"), refused
        )
        inner = refused[5 : refused.rindex(b"0000")]
        handler._answer(status, headers, packet(b"\x01" + inner) + b"0000")

    world.server.fails(lies, PUSH, times=1, path="staging")
    assert isinstance(world.shop.promote("staging"), Rejected | Raced | NothingToDo)
    assert isinstance(world.attempt(), NothingToDo)
    assert len(world.staging.tags()) == 1
    assert world.staging.tree() == world.dev.tree()


@over_http
@only("part", [0, 0.5])
def test_a_report_of_a_push_that_breaks_off_is_no_success_that_was_not(world: World, part):
    world.server.fails(cuts(part, length=False), PUSH, times=1, path="staging")
    answer = world.attempt()
    if not isinstance(answer, Promoted):
        assert isinstance(answer, ToolError | NothingToDo), answer
        assert isinstance(world.attempt(), NothingToDo)
    assert len(world.staging.tags()) == 1


@over_http
def test_a_server_that_closes_the_connection_after_each_answer_is_asked_over_new_ones(
    world: World,
):
    def answers_and_closes(handler, body) -> None:
        handler._answer(*handler.real_answer(body))
        handler.hang_up()

    every = (LOOK_UP, FETCH, PUSH, UPLOAD_OFFER, PUSH_OFFER)
    world.server.fails(answers_and_closes, *every)
    world.promoted()


# --- statuses ---------------------------------------------------------------------------------


REQUESTS = 12
"""What a first promotion into a target of its own history needs: two look-ups, two offers and five
fetches as contents are left out at first, an offer, a push, and a look whether it is there."""


@over_http
@only("status", [503, 429])
@only("kind", [LOOK_UP, FETCH, PUSH, UPLOAD_OFFER, PUSH_OFFER])
def test_a_server_that_says_not_now_twice_is_asked_a_third_time(made, kind, status, monkeypatch):
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    world = made(FIRST)
    place = "staging" if kind in (PUSH, PUSH_OFFER) else "dev"
    fault = world.server.fails(says(status, b"busy", "text/plain"), kind, times=2, path=place)
    world.promoted()
    assert fault.met == 2
    assert len(world.server.log) <= REQUESTS + 2


@over_an_old_server
@only("step", STEPS)
def test_an_old_server_that_says_not_now_is_worth_another_try(world: World, step):
    world.shop.consider("staging")  # what kind of server it is is known now
    world.dev.commit({"a": "1\n"})
    fault = world.server.fails(
        says(503, b"busy", "text/plain"), *kinds(world, step), times=2, path=side(step)
    )
    world.healed()
    assert fault.met == 2


@only("step", STEPS)
@only("status", [500, 503])
def test_a_server_that_is_always_down_is_worth_another_try_and_not_asked_for_ever(
    world: World, monkeypatch, step, status
):
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    world.server.fails(says(status, b"down", "text/plain"), *kinds(world, step), path=side(step))
    answer = failed(world, retryable=True)
    assert str(status) in str(answer)
    assert sum(world.server.count(kind, side(step)) for kind in kinds(world, step)) <= 4


@over_http
def test_a_server_that_is_always_down_is_not_waited_for_beyond_the_deadline(world: World, short):
    short(world, LOOK_UP)
    world.server.fails(slow(0.4 * SECONDS, says(503)), LOOK_UP, path="dev")
    with within(SECONDS, 1):
        failed(world, retryable=True)


STATUSES = {
    401: "workspaces.{0}.credential",
    403: "workspaces.{0}.credential",
    404: "workspaces.{0}.repository",
    302: "workspaces.{0}.repository",
}


@only("step", STEPS)
@only("status", STATUSES)
def test_a_server_that_refuses_us_is_an_error_with_what_to_check(world: World, step, status):
    more = {"Location": "http://127.0.0.1:1/"} if status == 302 else {}
    fault = says(status, b"<h1>no</h1>", "text/html", **more)
    world.server.fails(fault, *kinds(world, step), path=side(step))
    failed(world, hint=STATUSES[status].format(side(step)), retryable=False)


@over_http
def test_the_reason_of_a_status_is_inert(world: World, monkeypatch):
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)

    def do(handler, _) -> None:
        handler.wfile.write(b"HTTP/1.1 500 " + ESCAPES + b"\r\nContent-Length: 0\r\n\r\n")

    world.server.fails(do, LOOK_UP, path="dev")
    assert "entry" in str(failed(world, retryable=True))


# --- answers that are not git's ---------------------------------------------------------------

PAGE = b"<!DOCTYPE html><html><title>Log in</title></html>\n"


@only("step", STEPS)
def test_a_login_page_is_an_error_with_what_to_check(world: World, step):
    world.server.fails(says(200, PAGE, "text/html"), *kinds(world, step), path=side(step))
    failed(world, hint=f"workspaces.{side(step)}.repository")


def test_a_host_of_login_pages_is_an_error_with_what_to_check(world: World):
    every = (LOOK_UP, FETCH, PUSH, UPLOAD_OFFER, PUSH_OFFER)
    world.server.fails(says(200, PAGE, "text/html"), *every)
    failed(world, hint=".repository")


@over_http
def test_a_login_page_in_between_does_not_make_a_new_server_an_old_one(world: World):
    world.server.fails(says(200, PAGE, "text/html"), LOOK_UP, UPLOAD_OFFER, times=3, path="dev")
    world.attempt()
    world.server.log.clear()
    world.dev.commit({"a": "1\n"})
    world.promoted()
    assert (LOOK_UP, "dev.git") in world.server.log


ANSWERS = {
    "nothing": b"",
    "rubbish": b"rubbish\n",
    "zeros": b"\0" * 100,
    "a packet cut off": b"0040" + b"1" * 20,
    "a packet that says it is longer than it is": b"fff0" + b"1" * 40 + b" refs/heads/main\n0000",
    "a packet that says it is longer than any": b"ffff" + b"x" * 65_531 + b"0000",
    "a packet of no length": b"0004" * 3 + b"0000",
    "a packet of a negative length": b"-001" + b"0000",
    "packets without an end": packet(b"1" * 40 + b" refs/heads/main\n") * 3,
    "an object id that is none": packet(b"HEAD refs/heads/main\n") + b"0000",
    "an object id that is an option": packet(b"--output=/tmp/x refs/heads/main\n") + b"0000",
    "an object id of another format": packet(b"1" * 64 + b" refs/heads/main\n") + b"0000",
    "a ref without a name": packet(b"1" * 40 + b"\n") + b"0000",
    "a ref that is cut off": packet(b"1" * 39) + b"0000",
    "bytes that are no text": packet(b"\xff" * 40 + b" \xfe\n") + b"0000",
    "an error": packet(b"ERR " + ESCAPES) + b"0000",
    "a nest of zeros": b"0001" * 10_000,
    "a pack": packet(b"packfile\n") + packet(b"\x01PACK" + b"\0" * 40) + b"0000",
}


SOME = ("nothing", "rubbish", "a packet of no length", "a pack")
MET = [
    *((LOOK_UP, name) for name in ANSWERS),
    *((kind, name) for kind in (FETCH, UPLOAD_OFFER, PUSH_OFFER, PUSH) for name in SOME),
]


@over_http
@only(("kind", "name"), MET)
def test_an_answer_that_is_not_gits_is_an_error_or_asked_for_in_another_way(
    world: World, kind, name
):
    place = "staging" if kind in (PUSH, PUSH_OFFER) else "dev"
    world.server.fails(says(200, ANSWERS[name]), kind, path=place)
    answer = world.attempt()
    assert isinstance(answer, ToolError | Rejected | Promoted), answer
    assert "Traceback" not in str(answer)
    if isinstance(answer, ToolError | Rejected):
        assert str(answer).replace("\n", "").isprintable()
        world.server.faults.clear()
        again = world.attempt()
        assert isinstance(again, Promoted), again


@over_an_old_server
@only("content", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_offer_of_an_old_server_that_is_not_gits_is_an_error(world: World, content):
    start = packet(b"# service=git-upload-pack\n") + b"0000"
    world.server.fails(says(200, start + content), UPLOAD_OFFER, path="dev")
    answer = world.attempt()
    assert isinstance(answer, ToolError | Rejected), answer
    assert str(answer).replace("\n", "").isprintable()
    unchanged(world)


@only("kind", [LOOK_UP, FETCH, UPLOAD_OFFER, PUSH_OFFER, PUSH])
def test_the_error_of_a_server_is_told_inert(world: World, kind):
    if world.transport == OLD and kind == LOOK_UP:
        kind = UPLOAD_OFFER
    place = "staging" if kind in (PUSH, PUSH_OFFER) else "dev"
    start = packet(b"# service=git-upload-pack\n") + b"0000" if kind == UPLOAD_OFFER else b""
    world.server.fails(says(200, start + packet(b"ERR " + ESCAPES)), kind, path=place)
    answer = world.attempt()
    if not isinstance(answer, Promoted):
        assert "entry" in str(answer) or (world.transport, kind) == (OLD, PUSH)
        assert str(answer).replace("\n", "").isprintable()


@over_http
@only("band", [b"\x03", b"\x04", b""], ids=["an error", "no band", "nothing"])
def test_an_error_in_the_middle_of_a_pack_is_told(world: World, band):
    def change(content: bytes) -> bytes:
        start = content.index(b"packfile\n") + len(b"packfile\n")
        return content[:start] + packet(band + ESCAPES if band else b"") + content[start:]

    world.server.fails(rewrites(change), FETCH, path="dev")
    answer = failed(world)
    if band:
        assert "entry" in str(answer)


def made_pack(*objects: tuple[int, bytes]) -> bytes:
    """Return a pack with objects of a type and content."""
    content = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big")
    for kind, data in objects:
        size, first = len(data) >> 4, (kind << 4) | (len(data) & 15)
        while size:
            content += bytes([first | 0x80])
            first, size = size & 0x7F, size >> 7
        content += bytes([first]) + zlib.compress(data)
    return content + sha1(content).digest()


def fetched(pack: bytes) -> bytes:
    """Return a fetch's answer with the pack."""
    pieces = [pack[at : at + 60_000] for at in range(0, len(pack), 60_000)]
    return packet(b"packfile\n") + b"".join(packet(b"\x01" + p) for p in pieces) + b"0000"


def raw(world: World, name: str, kind: str) -> bytes:
    command = ["git", "cat-file", kind, name]
    return subprocess.run(command, cwd=world.dev.bare, capture_output=True, check=True).stdout


COMMIT, TREE, BLOB = 1, 2, 3


def wrong_packs(world: World) -> dict[str, bytes]:
    commit, tree = raw(world, "main", "commit"), raw(world, "main^{tree}", "tree")
    good = made_pack((COMMIT, commit), (TREE, tree))
    return {
        "nothing": made_pack(),
        "something else": made_pack((BLOB, b"something else\n")),
        "the commit without its tree": made_pack((COMMIT, commit)),
        "the commit without its history": good,
        "a corrupt checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "a corrupt object": good[:30] + bytes([good[30] ^ 0x55]) + good[31:],
        "more objects than there are": good[:8] + b"\0\0\0\x63" + good[12:],
        "a count of all numbers": good[:8] + b"\xff\xff\xff\xff" + good[12:],
        "no pack": b"this is no pack at all, but it is long enough",
    }


WRONG = [
    *("nothing", "something else", "the commit without its tree"),
    *("the commit without its history", "a corrupt checksum", "a corrupt object"),
    *("more objects than there are", "a count of all numbers", "no pack"),
]


@over_http
@only("holds", [FIRST, PROMOTED])
@only("wrong", WRONG)
def test_a_pack_that_is_not_what_was_asked_for_changes_nothing_and_heals(made, holds, wrong):
    world = made(holds)
    if holds == PROMOTED:
        world.shop.consider("staging")
        world.staging.commit({"pipeline.yml": "source: users\ntarget: ours\n"})
    world.dev.commit({"a": "1\n"})
    world.dev.commit({"a": "2\n"})
    kept = git(world.dev.bare, "rev-parse", "main")
    world.server.fails(says(200, fetched(wrong_packs(world)[wrong])), FETCH, path="dev")
    answer = world.attempt()
    assert isinstance(answer, ToolError), answer
    unchanged(world)
    # A cache that leaves contents out is not checked for links, as by git itself: what is missing
    # shows later there, and the cache is made anew.
    assert "the cache" not in answer.hint or (world.shop.store.made and answer.retryable)
    world.server.faults.clear()
    answer = world.attempt()
    if isinstance(answer, ToolError) and answer.retryable:
        answer = world.attempt()
    assert isinstance(answer, Promoted), answer
    assert answer.ready.plan.upstream_commit == kept
    if holds == PROMOTED:
        assert world.staging.show("pipeline.yml") == "source: users\ntarget: ours"


# --- servers that can less --------------------------------------------------------------------


def without(*words: bytes) -> Callable[[bytes], bytes]:
    """Take words out of what a server says it can."""

    def change(content: bytes) -> bytes:
        # A request for protocol v2 is answered without the name of the service before.
        start = content.index(b"0000") + 4 if content.startswith(b"001f# service") else 0
        size = int(content[start : start + 4], 16)
        line, rest = content[start + 4 : start + size], content[start + size :]
        head, _, capabilities = line.partition(b"\0")
        left = [w for w in capabilities.split() if w.split(b"=")[0] not in words]
        return content[:start] + packet(head + b"\0" + b" ".join(left) + b"\n") + rest

    return change


def test_a_server_that_cannot_push_atomically_is_not_pushed_to(world: World):
    world.server.fails(rewrites(without(b"atomic")), PUSH_OFFER)
    assert "atomic" in str(failed(world))


REPORTS = (b"report-status", b"report-status-v2")


def test_a_server_that_tells_nothing_of_a_push_is_an_answer_within_the_deadline(
    world: World, monkeypatch
):
    monkeypatch.setattr("dataops_dagster.store.NETWORK_SECONDS", 2 * SECONDS)
    world.server.fails(rewrites(without(*REPORTS)), PUSH_OFFER)
    with within(2 * SECONDS, 6):
        answer = world.attempt()
    assert isinstance(answer, Promoted | ToolError | Rejected), answer


@over_http
def test_a_refusal_that_a_server_does_not_tell_is_not_taken_for_a_promotion(
    world: World, monkeypatch
):
    monkeypatch.setattr("dataops_dagster.store.NETWORK_SECONDS", 2 * SECONDS)
    hook(world, "pre-receive", "echo no entry >&2; exit 1")
    world.server.fails(rewrites(without(*REPORTS)), PUSH_OFFER)
    answer = world.attempt()
    assert isinstance(answer, ToolError | Rejected | Raced), answer
    unchanged(world)


@over_http
def test_a_server_that_leaves_nothing_out_gives_everything(world: World):
    def change(content: bytes) -> bytes:
        assert b" filter" in content
        return content.replace(b" filter", b" felter")

    world.server.fails(rewrites(change), UPLOAD_OFFER)
    world.promoted()
    assert not world.shop.store.is_partial


# --- servers that say no ----------------------------------------------------------------------


@only("transport", TRANSPORTS, indirect=True)
@only("where", ["pre-receive", "update"])
def test_a_hook_that_says_no_is_a_refusal_with_its_words(world: World, where):
    hook(world, where, r"printf 'no\033[31m\033]0;title\007 entry\n' >&2; exit 1")
    answer = world.attempt()
    assert isinstance(answer, Rejected), answer
    assert "entry" in answer.reason
    assert answer.reason.isprintable()
    assert "workspaces.staging" in answer.hint
    unchanged(world)


@only("transport", TRANSPORTS, indirect=True)
@only("which", ["refs/tags/*", "refs/heads/*"])
def test_a_hook_that_says_no_to_one_ref_stops_both(world: World, which):
    hook(world, "update", f'case "$1" in {which}) echo no entry >&2; exit 1;; esac')
    answer = world.attempt()
    assert isinstance(answer, Rejected), answer
    assert "entry" in answer.reason
    unchanged(world)


@only("transport", TRANSPORTS, indirect=True)
def test_a_branch_that_is_hidden_from_pushes_is_refused_before_anything_moves(world: World):
    git(world.staging.bare, "config", "receive.hideRefs", "refs/heads")
    answer = world.attempt()
    # git's own command takes it for a race.
    assert isinstance(answer, Raced if world.transport == OLD else Rejected), answer
    unchanged(world)


@only("transport", TRANSPORTS, indirect=True)
def test_a_server_that_breaks_its_word_to_move_all_or_none_is_named(world: World):
    # git leaves hidden refs out of the transaction, and does not say so before.
    git(world.staging.bare, "config", "receive.hideRefs", "refs/tags")
    with pytest.raises(ToolError, match="moved refs/heads/main and refused the rest") as caught:
        world.shop.promote("staging")
    assert "receive.hideRefs" in caught.value.hint


@only("transport", TRANSPORTS, indirect=True)
def test_a_push_that_is_too_large_is_a_refusal(world: World):
    git(world.staging.bare, "config", "receive.maxInputSize", "100")
    answer = world.attempt()
    assert isinstance(answer, Rejected | ToolError), answer
    unchanged(world)


def test_a_server_that_takes_no_pushes_at_all_is_an_error_with_what_to_check(world: World):
    git(world.staging.bare, "config", "http.receivepack", "false")
    git(world.staging.bare, "config", "receive.denyNonFastForwards", "true")
    world.server.fails(says(403, b"", "text/plain"), PUSH_OFFER, PUSH)
    failed(world, hint="workspaces.staging.credential")


@only("transport", TRANSPORTS, indirect=True)
def test_a_push_of_somebody_else_between_plan_and_publish_is_a_lost_race(world: World):
    ready = world.shop.consider("staging")
    world.staging.commit({"other.txt": "theirs\n"})
    world.remember()
    answer = promotion.publish(world.shop.project, ready, store=world.shop.store, now=NOW)
    assert isinstance(answer, Raced), answer
    unchanged(world)
    world.promoted()
    assert world.staging.show("other.txt") == "theirs"


def test_a_push_of_somebody_else_while_ours_is_under_way_is_planned_anew(world: World):
    moved = between(lambda: world.staging.commit({"other.txt": "theirs\n"}))
    world.server.fails(moved, PUSH, times=1)
    answer = world.shop.promote("staging")
    assert isinstance(answer, Promoted), answer
    assert world.staging.show("other.txt") == "theirs"
    assert world.staging.tags() == [answer.release.tag]


@only("transport", TRANSPORTS, indirect=True)
def test_a_release_tag_that_exists_already_is_a_lost_race_and_gets_another_name(world: World):
    ready = world.shop.consider("staging")
    git(world.staging.bare, "tag", ready.plan.tag, world.staging.head)
    world.remember()
    answer = promotion.publish(world.shop.project, ready, store=world.shop.store, now=NOW)
    assert isinstance(answer, Raced), answer
    unchanged(world)
    assert world.promoted().release.tag != ready.plan.tag


# --- connections ------------------------------------------------------------------------------


@over_http
def test_look_ups_of_one_host_one_after_the_other_share_a_connection(world: World):
    workspaces = world.shop.project.workspaces
    for name in ("dev", "staging", "dev", "staging", "dev"):
        assert look_up(world.shop.project, workspaces[name]).commit
    assert world.server.count(LOOK_UP) == 5
    assert world.server.connections == 1


@over_http
def test_a_whole_promotion_needs_few_connections(world: World):
    world.promoted()
    assert world.server.connections <= 3


@over_http
def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(world: World):
    staging = world.shop.project.workspaces["staging"]
    assert look_up(world.shop.project, staging).commit
    world.server.drop_connections()
    assert look_up(world.shop.project, staging).commit
    assert world.server.connections == 2


@over_http
def test_one_server_that_fails_spoils_only_its_own_answer(world: World, short):
    short(world, LOOK_UP)
    world.server.fails(never, LOOK_UP, path="dev")
    found = look_up_all(world.shop.project, ["dev", "staging"])
    assert isinstance(found["dev"], ToolError)
    assert found["staging"].commit == world.staging.head


@over_http
def test_what_a_broken_answer_left_unread_is_not_the_next_answer(world: World):
    extra = rewrites(lambda content: content + packet(b"1" * 40 + b" refs/heads/main\n") + b"0000")
    world.server.fails(extra, LOOK_UP, times=1, path="dev")
    world.server.fails(says(404, b"x" * 200_000, "text/plain"), LOOK_UP, times=1, path="staging")
    workspaces = world.shop.project.workspaces
    assert look_up(world.shop.project, workspaces["dev"]).commit == world.dev.head
    with pytest.raises(ToolError):
        look_up(world.shop.project, workspaces["staging"])
    for name in ("dev", "staging"):
        head = look_up(world.shop.project, workspaces[name])
        assert head.commit == getattr(world, name).head


@only("step", STEPS)
def test_a_server_that_hangs_up_is_worth_another_try(world: World, monkeypatch, step):
    monkeypatch.setattr("dataops_dagster.connections._PAUSE_SECONDS", 0.01)
    world.server.fails(hangs_up, *kinds(world, step), path=side(step))
    failed(world, retryable=True)
    world.server.faults.clear()
    world.promoted()
