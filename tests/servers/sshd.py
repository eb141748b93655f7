"""Real OpenSSH servers on loopback for tests, and accounts with other login shells when the tests run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass
class Server:
    """A running sshd. `host_keys` by type are public keys: 'ssh-ed25519 AAAA…'."""

    port: int
    identity: str
    host_keys: dict[str, str]
    pid: int
    log: Path
    home: Path  # what HOME is there for whoever runs the tests

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def known(self, *types: str) -> str:
        """Lines for known_hosts."""
        chosen = types or tuple(self.host_keys)
        return "".join(f"[127.0.0.1]:{self.port} {self.host_keys[type_]}\n" for type_ in chosen)


@dataclass
class Servers:
    """Starts servers, makes keys and accounts, and takes all of it away at the end."""

    folder: Path
    stack: ExitStack
    _keys: dict[str, Path] = field(default_factory=dict)

    def key(self, name: str, kind: str = "ed25519") -> Path:
        """A private key file; the same for the same name."""
        if name not in self._keys:
            path = self.folder / f"key-{name}"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", path], check=True)
            self._keys[name] = path
        return self._keys[name]

    def public(self, name: str) -> str:
        return " ".join(self.key(name).with_suffix(".pub").read_text().split()[:2])

    def start(
        self,
        identity: str = "test:one",
        host_keys: tuple[str, ...] = ("ed25519",),
        port: int | None = None,
        options: str = "",
        accepts: tuple[str, ...] = ("reader",),
    ) -> Server:
        """An sshd that shows `identity` as $ENVTUI_TEST_ID and lets the keys `accepts` in as any account."""
        assert SSHD is not None
        port = port or free_port()
        here = Path(tempfile.mkdtemp(prefix=f"sshd-{port}-", dir=self.folder))
        here.chmod(0o755)
        home = here / "home"
        home.mkdir()
        publics: dict[str, str] = {}
        lines = []
        for number, kind in enumerate(host_keys):
            path = here / f"host-{number}"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
            public = " ".join(path.with_suffix(".pub").read_text().split()[:2])
            publics[public.split()[0]] = public
            lines.append(f"HostKey {path}")
        authorized = here / "authorized"
        authorized.write_text("".join(self.public(name) + "\n" for name in accepts))
        config = here / "config"
        config.write_text(
            "\n".join(lines)
            + f"\nPort {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nLogLevel VERBOSE\n"
            f"AuthorizedKeysFile {authorized}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            f"PermitRootLogin yes\nMaxStartups 200\nPrintMotd no\nSetEnv ENVTUI_TEST_ID={identity}\n{options}\n"
            # A write keeps its state in the home, and not in that of whoever runs the tests.
            f"Match User {ME}\nSetEnv ENVTUI_TEST_ID={identity} HOME={home}\n"
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = here / "log"
        with log.open("wb") as file:
            process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=file)
        self.stack.callback(_end, process)
        _wait_for(port, process, log)
        return Server(port, identity, publics, process.pid, log, home)

    def account(self, name: str, shell: str, files: dict[str, str] | None = None) -> str:
        """An account of this run with a login shell and start files; needs root."""
        login = f"envtui-t{os.getpid()}-{name}"
        home = self.folder / login
        subprocess.run(["useradd", "-M", "-d", str(home), "-s", shell, "-p", "*", login], check=True)
        self.stack.callback(subprocess.run, ["userdel", "-f", login], check=True, stderr=subprocess.DEVNULL)
        home.mkdir(mode=0o755)
        for path, text in (files or {}).items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(text)
        entry = pwd.getpwnam(login)
        for path_ in (home, *home.rglob("*")):
            os.chown(path_, entry.pw_uid, entry.pw_gid)
        return login


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="envtui-test-ssh-")))
        folder.chmod(0o755)  # sshd reads authorized keys as the account
        yield Servers(folder, stack)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"sshd did not start: {log.read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.recv(4)
                return
        except ConnectionRefusedError:
            os.sched_yield()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)
