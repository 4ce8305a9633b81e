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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

_DEBIAN = Path("/usr/lib/postgresql")
_ACCOUNT = "postgres"  # Debian's; the server refuses to run as root
_USER = "dagster"
_ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
_START_SECONDS, _END_SECONDS = 60, 20
# Only what makes loading quick; how the server plans and reads is as it is by default.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_wal_size": "4GB",
}


@dataclass(frozen=True)
class Running:
    """A running server, as its clients see it."""

    port: int
    password: str
    version: str = ""

    def url(self, database: str) -> str:
        """Return a database's address for SQLAlchemy, which maps no driver's name to psycopg 3."""
        address = f"127.0.0.1:{self.port}"
        return f"postgresql+psycopg2://{_USER}:{self.password}@{address}/{database}"

    def create(self, database: str) -> str:
        """Make a database; returns what dagster.yaml says to use it."""
        _do(self.url("postgres"), f"create database {database}")
        where = f"hostname: 127.0.0.1, port: {self.port}, db_name: {database}"
        who = f"username: {_USER}, password: '{self.password}'"
        database_of = f"{{{who}, {where}, scheme: postgresql+psycopg2}}"
        return f"storage: {{postgres: {{postgres_db: {database_of}}}}}\n"

    def settle(self, database: str) -> None:
        """Do at once what the server does by itself within minutes: statistics, and writing."""
        _do(self.url(database), "vacuum analyze")
        _do(self.url(database), "checkpoint")


def missing() -> str:
    """Say what keeps us from running a server; nothing when nothing does."""
    if not importlib.util.find_spec("dagster_postgres"):
        return "dagster-postgres is not installed (dependency group `benchmark`)"
    if not _programs():
        return "there is no server (Debian's package `postgresql`)"
    if os.geteuid() == 0 and not (shutil.which("setpriv") and _account()):
        return f"root cannot run a server, and there is no account `{_ACCOUNT}` or no `setpriv`"
    return ""


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """Run a server with a cluster of its own as long as the block lasts."""
    programs = _programs()
    assert programs, "`missing` was not asked"
    with tempfile.TemporaryDirectory(prefix="dataops-postgres-") as made:
        folder, password = Path(made), secrets.token_hex(16)
        (folder / "password").write_text(password)
        as_account = _give(folder)
        options = ("--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync")
        secret = f"--pwfile={folder / 'password'}"
        initdb = (str(programs / "initdb"), *options, f"--username={_USER}", secret)
        _to_the_end((*as_account, *initdb, f"--pgdata={folder / 'data'}"), folder)
        port = _free_port()
        settings = [f"--{name}={value}" for name, value in {**_SETTINGS, "port": port}.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*as_account, str(programs / "postgres"), "-D", str(folder / "data"), *settings],
                cwd=folder,
                env=_ENV,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends us in order
            )
        try:
            version = _wait(process, Running(port, password), folder / "log")
            yield Running(port, password, version)
        finally:
            _end(process)


def _to_the_end(command: Sequence[str], folder: Path) -> None:
    """Run a program that takes a second, also when interrupted: killed, it leaves shared memory."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_ENV,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        process.wait()
    finally:
        process.wait()
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {(folder / 'log').read_text()}")


def _programs() -> Path | None:
    """Return the folder of the newest server's programs."""
    found = sorted(
        (path.parent for path in _DEBIAN.glob("*/bin/postgres")),
        key=lambda folder: float(folder.parent.name),
    )
    on_path = shutil.which("postgres")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


def _account() -> pwd.struct_passwd | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_ACCOUNT)
    return None


def _give(folder: Path) -> tuple[str, ...]:
    """Return what runs a program as who may run a server, who then owns the folder."""
    if os.geteuid():
        return ()
    account = _account()
    assert account, "`missing` was not asked"
    for path in (folder, *folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    # It becomes the program, so that a signal for it reaches the program.
    return ("setpriv", f"--reuid={_ACCOUNT}", f"--regid={account.pw_gid}", "--init-groups")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], server: Running, log: Path) -> str:
    """Wait until the server answers; returns its version."""
    limit = time.monotonic() + _START_SECONDS
    while not (version := _version(server)):
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"PostgreSQL does not start: {log.read_text()}")
        time.sleep(0.1)
    return version


def _version(server: Running) -> str:
    with contextlib.suppress(sqlalchemy.exc.OperationalError):
        return str(_do(server.url("postgres"), "show server_version")).split()[0]
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the server end all connections and itself."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # it ends its children as well, which SIGKILL would not
        process.wait()


def _do(url: str, statement: str) -> object:
    """Execute a statement by itself; returns the one value that it gives, if any."""
    engine = sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool
    )
    with engine.connect() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None
