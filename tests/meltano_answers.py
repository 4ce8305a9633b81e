"""Run by Meltano's own Python: answers many `meltano config print` questions by Meltano's real code.

Reads one JSON line a project: {"folder", "env", "questions": [[argument, ...], ...]}; writes one JSON
line with an [exit code, output, last line of errors] each. A project has a process of its own.
"""

import contextlib
import io
import json
import logging
import os
import sys


def main():
    logging.raiseExceptions = False
    from meltano.cli import cli  # noqa: F401  # loaded once, before the forks

    for line in sys.stdin:
        print(json.dumps(_in_a_child(json.loads(line))), flush=True)


def _in_a_child(asked):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writes, "w") as answers:
            json.dump(_answers(asked), answers)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as answers:
        told = json.load(answers)
    os.waitpid(child, 0)
    return told


def _answers(asked):
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["folder"])
    return [_answer(question) for question in asked["questions"]]


def _answer(arguments):
    from meltano.cli import cli
    from meltano.core import yaml
    from meltano.core.project import Project

    Project.deactivate()
    yaml.cache.clear()
    out, errors, code = io.StringIO(), "", 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli(arguments, obj={"project": None}, standalone_mode=False)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException as problem:  # noqa: BLE001  # every kind is an answer
            code, errors = 1, f"{type(problem).__name__}: {problem}"
    return [code, out.getvalue(), errors]


if __name__ == "__main__":
    main()
