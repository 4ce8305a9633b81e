"""Asks the real Meltano what it would print, and us, and compares."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dataops_dagster.meltano.dotenv import read_dotenv
from dataops_dagster.meltano.files import GivenFiles
from dataops_dagster.meltano.model import Plugin
from dataops_dagster.meltano.printed import Part, Unprintable, printed
from dataops_dagster.meltano.project import Project, load
from dataops_dagster.meltano.resolving import Secrets, resolve

_DRIVER = Path(__file__).with_name("meltano_answers.py")


@dataclass(frozen=True)
class Question:
    """What `meltano config print` is asked for."""

    plugin: Plugin
    environment: str | None
    part: Part = Part.CONFIG
    secrets: Secrets = Secrets.SHOWN

    @property
    def arguments(self) -> list[str]:
        """The command line that asks it."""
        return [
            *([f"--environment={self.environment}"] if self.environment is not None else []),
            "config",
            "--unsafe" if self.secrets is Secrets.SHOWN else "--safe",
            "print",
            f"--plugin-type={self.plugin.type}",
            *(["--extras"] if self.part is Part.EXTRAS else []),
            self.plugin.name,
        ]


@dataclass
class Oracle:
    """The real Meltano, loaded once: `process` answers for one project after the other."""

    process: subprocess.Popen[str]
    folder: Path

    def env(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return a process's environment for Meltano that reaches no server and writes nowhere else."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "1",
            "MELTANO_HUB_URL": "nowhere://hub",  # so it fails at once, without another try
            "MELTANO_SYS_DIR_ROOT": str(self.folder / "system"),
            "MELTANO_DATABASE_URI": f"sqlite:///{self.folder}/meltano.db",
            "MELTANO_PROJECT_READONLY": "true",
            "MELTANO_PROJECT_ID": "11111111-1111-4111-8111-111111111111",
            "NO_COLOR": "1",
            **variables,
        }

    def write(self, files: Mapping[str, str | bytes]) -> Path:
        """Write a project's files; returns its folder."""
        root = self.folder.resolve() / "project"
        shutil.rmtree(root, ignore_errors=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    def answers(
        self, root: Path, env: Mapping[str, str], questions: list[Question]
    ) -> list[tuple[str | None, str]]:
        """Return what Meltano prints for each question, or None and its error."""
        asked = {"folder": str(root), "env": env, "questions": [q.arguments for q in questions]}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        return [(None if code else out, error) for code, out, error in told]

    def compare(
        self,
        files: Mapping[str, str | bytes],
        variables: Mapping[str, str] | None = None,
        *,
        secrets: Secrets = Secrets.SHOWN,
    ) -> list[str]:
        """Ask for everything in a project, and return where our answer is another than Meltano's."""
        root, env = self.write(files), self.env(variables or {})
        project = load(GivenFiles(files))
        questions = [
            Question(plugin, environment, part, secrets)
            for plugin in project.plugins
            for environment in (None, *(e.name for e in project.environments))
            for part in Part
        ]
        given = {**env, "MELTANO_PROJECT_ROOT": str(root)}
        dotenv = read_dotenv(str(files.get(".env", "")), given)
        found = []
        theirs = self.answers(root, env, questions) if questions else []
        for question, (their, error) in zip(questions, theirs, strict=True):
            our = ours(project, question, given, dotenv)
            if not _same(our, their):
                found.append(f"{question.arguments}\n  ours: {our}\n  Meltano's: {their} {error}")
        return found


def ours(
    project: Project, question: Question, given: Mapping[str, str], dotenv: Mapping[str, str]
) -> str | Unprintable:
    """Return what we print, or why not."""
    try:
        configuration = resolve(
            project,
            question.plugin,
            question.environment,
            variables=given,
            dotenv=dotenv,
            secrets=question.secrets,
        )
        return printed(configuration, question.part)
    except Unprintable as reason:
        return reason


def _same(our: str | Unprintable, their: str | None) -> bool:
    if isinstance(our, Unprintable) or their is None:
        return isinstance(our, Unprintable) and their is None
    return our == their.rstrip("\n")


@contextmanager
def oracle(command: str, folder: Path) -> Iterator[Oracle]:
    """Start Meltano's own Python beside its command; it ends with the block."""
    python = Path(command).parent / "python"
    process = subprocess.Popen(
        [str(python), str(_DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield Oracle(process, folder)
        assert process.stdin
        process.stdin.close()
