"""Outside programs get what they are given, end when they must, and cannot steer who reads them."""

from __future__ import annotations

import ast
import contextlib
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_dagster import process
from dataops_dagster.errors import ToolError

ENV = process.environment((), {})


def sh(script: str, **more) -> process.Completed:
    return process.run(["sh", "-c", script], **{"env": ENV, "deadline": 20.0, **more})


def python(script: str, **more) -> process.Completed:
    command = [sys.executable, "-I", "-c", script]
    return process.run(command, **{"env": ENV, "deadline": 20.0, **more})


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended but is not yet reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    return not status.parent.parent.exists()  # without /proc, what answers is alive


def ends(pid: int, *, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_alive(pid)


@pytest.fixture
def short_grace(monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.3)


# --- the environment --------------------------------------------------------------------------


def test_an_environment_is_built_from_nothing(monkeypatch):
    monkeypatch.setenv("OUR_SECRET", "hunter2")
    monkeypatch.setenv("ALLOWED", "yes")
    monkeypatch.delenv("UNSET", raising=False)
    built = process.environment(["ALLOWED", "UNSET"], {"GIVEN": "1"})
    assert set(built) <= {*process.NEEDED_BY_PROGRAMS, "LC_ALL", "ALLOWED", "GIVEN"}
    assert (built["PATH"], built["ALLOWED"], built["GIVEN"]) == (os.environ["PATH"], "yes", "1")


def test_a_given_value_outranks_an_inherited_one(monkeypatch):
    monkeypatch.setenv("NAME", "inherited")
    assert process.environment(["NAME"], {"NAME": "given"})["NAME"] == "given"


def test_a_program_sees_its_environment_and_nothing_else(monkeypatch):
    monkeypatch.setenv("OUR_SECRET", "hunter2")
    script = "import os; print(sorted(os.environ))"
    done = python(script, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "A": "1"})
    assert done.stdout.decode().strip() == "['A', 'LC_ALL', 'PATH']"


# --- what comes back --------------------------------------------------------------------------


def test_the_streams_and_the_code_come_back_apart():
    done = sh("echo out; echo err >&2; exit 7")
    assert done == process.Completed(7, b"out\n", b"err\n", timed_out=False)


def test_a_program_that_a_signal_ended_has_its_negative_number():
    assert sh("kill -KILL $$").code == -signal.SIGKILL


def test_input_is_fed_while_output_is_read():
    data = os.urandom(3_000_000)
    assert process.run(["cat"], env=ENV, deadline=20.0, stdin=data).stdout == data


def test_a_program_that_does_not_read_its_input_is_no_error():
    assert sh("exit 0", stdin=b"x" * 3_000_000).code == 0


def test_a_program_is_no_shell_line():
    done = process.run(["printf", "%s", "$HOME; echo `id`"], env=ENV, deadline=5.0)
    assert done.stdout == b"$HOME; echo `id`"


def test_a_missing_program_is_named_with_a_hint():
    with pytest.raises(ToolError, match="no-such-program-here failed") as caught:
        process.run(["no-such-program-here", "--x"], env=ENV, deadline=5.0)
    assert caught.value.code is None
    assert "No such file or directory" in caught.value.tail
    assert caught.value.hint == "is it installed, and may it be executed?"


def test_a_program_that_may_not_be_executed_is_named(tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    with pytest.raises(ToolError, match="Permission denied"):
        process.run([str(program)], env=ENV, deadline=5.0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ToolError, match="not-there"):
        sh("true", cwd=tmp_path / "not-there")


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("short_grace")
def test_the_deadline_ends_the_program_and_keeps_what_it_said():
    before = time.monotonic()
    done = sh("echo started; sleep 60", deadline=0.3)
    assert done.timed_out
    assert done.stdout == b"started\n"
    assert done.code == -signal.SIGTERM
    assert time.monotonic() - before < 5.0


@pytest.mark.usefixtures("short_grace")
def test_the_deadline_ends_a_program_that_takes_no_notice_of_sigterm():
    done = sh("trap '' TERM; echo $$; while :; do sleep 0.05; done", deadline=0.3)
    assert (done.timed_out, done.code) == (True, -signal.SIGKILL)
    assert ends(int(done.stdout))


@pytest.mark.usefixtures("short_grace")
def test_the_deadline_ends_children_that_take_no_notice_of_sigterm():
    child = "trap '' TERM; while :; do sleep 0.05; done"
    done = sh(f'sh -c "{child}" & echo $!; wait', deadline=0.3)
    assert done.timed_out
    assert ends(int(done.stdout))


@pytest.mark.usefixtures("short_grace")
def test_a_program_that_ends_well_at_sigterm_after_its_deadline_is_still_too_late():
    done = sh("trap 'exit 0' TERM; while :; do sleep 0.05; done", deadline=0.3)
    assert (done.timed_out, done.code) == (True, 0)


def test_what_a_program_leaves_in_the_background_ends_with_it():
    before = time.monotonic()
    done = sh("sleep 60 & echo $!; exit 0")
    assert (done.code, done.timed_out) == (0, False)
    assert ends(int(done.stdout))
    assert time.monotonic() - before < 5.0


def test_what_left_the_group_and_holds_the_output_neither_holds_us_nor_hides_the_output(tmp_path):
    script = (
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "print('said', flush=True)\n"
    )
    before = time.monotonic()
    done = python(script)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert time.monotonic() - before < 5.0
    assert done == process.Completed(0, b"said\n", b"", timed_out=False)


def test_the_exit_is_found_where_nothing_wakes_us_at_it(monkeypatch):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    before = time.monotonic()
    assert sh("exec >&- 2>&-; sleep 0.2; exit 7").code == 7
    assert sh("sleep 60", deadline=0.3).timed_out
    assert time.monotonic() - before < 5.0


# --- the output -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [1, 2])
def test_a_program_that_says_more_than_the_limit_is_ended_and_what_it_said_before_is_kept(
    monkeypatch, stream
):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1000)
    done = sh(f"while :; do echo flood; done >&{stream}", deadline=60)
    assert done.is_cut
    assert not done.timed_out
    assert done.code < 0
    assert len(done.stdout + done.stderr) == 1000


def test_output_of_just_the_limit_is_whole(monkeypatch):
    monkeypatch.setattr(process, "OUTPUT_LIMIT_BYTES", 1000)
    done = sh("head -c 1000 /dev/zero; head -c 1000 /dev/zero >&2; exit 3")
    assert (done.code, len(done.stdout), len(done.stderr)) == (3, 1000, 1000)
    assert not done.is_cut


@pytest.mark.skipif(sys.platform != "linux", reason="macOS bounds no other process's memory")
@pytest.mark.parametrize("script", ["{0}", "{0} & wait $!"], ids=["itself", "a child"])
def test_a_program_gets_no_more_memory_than_it_may_have(monkeypatch, script):
    bound = resource.prlimit

    def late(*args: object) -> object:  # as on a loaded machine
        time.sleep(0.1)
        return bound(*args)

    monkeypatch.setattr(resource, "prlimit", late)
    wait = 'while [ "$(ulimit -v)" = unlimited ]; do sleep 0.05; done'
    hungry = f"{{ {wait}; exec {sys.executable} -c 'bytearray(400_000_000)'; }}"
    assert sh(script.format(hungry), memory=2**30).code == 0
    done = sh(script.format(hungry), memory=2**28)
    assert done.code != 0
    assert b"MemoryError" in done.stderr


def test_a_line_without_an_end_is_handed_over_in_pieces():
    lines: list[str] = []
    sh("head -c 25000 /dev/zero | tr '\\0' x", on_line=lines.append)
    assert [len(line) for line in lines] == [10_000, 10_000, 5_000]


def test_a_line_that_the_end_of_the_output_ends_is_handed_over_whole():
    lines: list[str] = []
    sh("head -c 10000 /dev/zero | tr '\\0' x", on_line=lines.append, secrets=["hunter2"])
    assert "".join(lines) == "x" * 10_000


def test_a_flood_of_lines_is_handed_over_whole_and_in_order():
    lines: list[str] = []
    done = sh("seq 20000", on_line=lines.append)
    assert done.code == 0
    assert lines == [str(i) for i in range(1, 20_001)]


def test_lines_come_while_the_program_runs_in_the_callers_thread(tmp_path):
    gate, seen = tmp_path / "gate", queue.SimpleQueue()

    def on_line(line: str) -> None:
        seen.put((line, threading.current_thread()))
        gate.touch()  # the program only goes on once its first line was heard

    script = f"echo one; while ! test -e {gate}; do sleep 0.01; done; echo two >&2"
    done = sh(script, on_line=on_line)
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")
    assert seen.get() == ("one", threading.current_thread())
    assert seen.get() == ("two", threading.current_thread())


@pytest.mark.usefixtures("short_grace")
def test_what_on_line_raises_reaches_the_caller_and_leaves_no_process_behind(tmp_path):
    def on_line(line: str) -> None:
        (tmp_path / "pid").write_text(line)
        raise RuntimeError("the log is full")

    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="the log is full"):
        sh("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", on_line=on_line)
    assert ends(int((tmp_path / "pid").read_text()))
    end = time.monotonic() + 5.0
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads


@pytest.mark.usefixtures("short_grace")
def test_a_flood_that_nobody_listens_to_any_more_leaves_no_thread_behind():
    def on_line(_: str) -> None:
        raise RuntimeError("enough")

    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="enough"):
        sh("seq 100000; sleep 60", on_line=on_line)
    end = time.monotonic() + 5.0
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_lines_are_inert_and_without_secrets():
    lines: list[str] = []
    script = r"printf '\033]0;title\007\033[31mred hunter2\r\n\377caf\303\251\n'"
    sh(script, on_line=lines.append, secrets=["hunter2"])
    assert lines == ["]0;title[31mred *****", "\ufffdcafé"]


def test_a_secret_is_found_although_control_characters_stand_inside_it():
    lines: list[str] = []
    sh(r"printf 'hunt\033er2\n'", on_line=lines.append, secrets=["hunter2"])
    assert "hunter2" not in "".join(lines)


def test_a_secret_is_found_although_a_long_line_is_handed_over_in_pieces():
    lines: list[str] = []
    script = "head -c 9996 /dev/zero | tr '\\0' x; echo hunter2-hunter2"
    sh(script, on_line=lines.append, secrets=["hunter2-hunter2"])
    assert "hunter2-hunter2" not in "".join(lines)


def test_redacting_takes_the_longest_secret_first_and_leaves_short_values():
    assert process.redact("abcdef abcd no", ["abcd", "abcdef", "no", ""]) == "***** ***** no"


@given(st.text(), st.lists(st.text(min_size=4).filter(lambda s: "*" not in s), max_size=3))
def test_no_secret_is_left_in_what_was_redacted(text, secrets):
    redacted = process.redact(text + "".join(secrets) + text, secrets)
    assert not any(secret in redacted for secret in secrets)


@given(st.text())
def test_inert_text_holds_no_control_and_no_bidi_characters(text):
    told = process.inert(text + "\x1b[2J\u202e\u2066\x9b\x07\0\n")
    assert all(c == "\t" or c.isprintable() for c in told)
    assert not set(told) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    assert process.inert(told) == told


def test_inert_text_keeps_letters_of_all_scripts_and_tabs():
    text = "Grüße\tñ 日本 עברית 🚀"
    assert process.inert(text) == text


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("echo $$ > {pid}; sleep 60 & wait", "deadline=60, guarded=True"),
        ("echo $$ > {pid}; sleep 60 & wait", "deadline=60, on_line=print"),
        ("trap '' TERM; echo $$ > {pid}; sleep 60 & wait", "deadline=60, guarded=True"),
        (
            'while [ "$(ulimit -t)" = unlimited ]; do :; done; echo $$ > {pid}; while :; do :; done',
            "deadline=0.5",
        ),
    ],
    ids=[
        "one that waits, by its guard",
        "one whose lines are handed over",
        "one that takes no notice of SIGTERM",
        "one that computes, at its deadline",
    ],
)
def test_a_captured_program_ends_when_the_worker_that_started_it_is_killed(tmp_path, script, how):
    program = ["sh", "-c", script.format(pid=tmp_path / "pid")]
    code = (
        "from dataops_dagster import process\n"
        "process.GRACE_SECONDS = 0.5\n"
        f"process.run({program!r}, env=process.environment((), {{}}), {how})"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text().strip())
    worker.kill()
    worker.wait()
    assert ends(int(pid.read_text()), within=30)


def test_a_program_that_survives_us_for_a_moment_ends_by_itself(tmp_path):
    pid, done = tmp_path / "pid", tmp_path / "done"
    program = ["sh", "-c", f"trap 'exit 1' TERM; echo $$ > {pid}; sleep 0.5; touch {done}"]
    code = (
        "from dataops_dagster import process\n"
        f"process.run({program!r}, env=process.environment(('PATH',), {{}}), deadline=30,"
        " guarded=True, survives=20)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    until(lambda: pid.exists() and pid.read_text().strip())
    worker.kill()
    worker.wait()
    assert ends(int(pid.read_text()), within=30)
    assert done.exists()


def test_a_guarded_program_is_what_it_would_be_without_a_guard(tmp_path):
    script = "cat; echo err >&2; echo $$; exit 129"
    plain = sh(script, stdin=b"in\n")
    assert (plain.code, plain.stderr) == (129, b"err\n")
    guarded = sh(script, stdin=b"in\n", guarded=True)
    assert (guarded.code, guarded.stdout[:3], guarded.stderr) == (129, b"in\n", b"err\n")
    assert sh("kill -TERM $$", guarded=True).code == -signal.SIGTERM
    with (tmp_path / "in").open("w+b") as given:
        given.write(b"from a file")
        assert sh("cat", stdin=given, guarded=True).stdout == b"from a file"
    seen = python("import os; print(sorted(os.environ))", guarded=True).stdout.decode()
    assert set(ast.literal_eval(seen)) - {"PWD", "OLDPWD", "SHLVL", "_"} == set(ENV)


def test_a_guard_ends_with_its_program():
    read, write = os.pipe()
    try:
        sh("true", guarded=True, keep_open=[write])
        os.close(write)
        assert os.read(read, 1) == b"", "somebody holds the descriptor still"
    finally:
        os.close(read)


def test_a_descriptor_that_is_kept_open_is_not_the_programs():
    read, write = os.pipe()
    try:
        script = f"test -e /dev/fd/{write} && echo open"
        assert sh(script, guarded=True, keep_open=[write]).stdout == b""
    finally:
        os.close(read)
        os.close(write)


def until(look) -> None:
    end = time.monotonic() + 15
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)
