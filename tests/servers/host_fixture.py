"""A place on this host that attacks may change: files, a process, daemons. `state` sees from outside whether one did."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "corpora"


class HostFixture:
    """`fill` puts its places into a command. Everything is made again by `renew`."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="envtui-host-"))
        self.mark = f"envtui{os.getpid()}"
        self.sleep = f"{4711 + os.getpid() / 1e7:.7f}"
        self._heard: list[str] = []
        self._open = True
        self._victim: subprocess.Popen[bytes] | None = None
        self._select = selectors.DefaultSelector()
        self._daemons()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.renew()

    def fill(self, command: str) -> str:
        assert self._victim is not None
        places = {
            "FX": self.root / "fx",
            "RUN": self.root / "run",
            "PID": self._victim.pid,
            "MARK": self.mark,
            "ABSTRACT": self.mark,
            "SLEEP": self.sleep,
            **self._ports,
        }
        for name, value in places.items():
            command = command.replace(f"@{name}@", str(value))
        return command

    def renew(self, owner: int | None = None) -> None:
        """Files, process and what is outside as they were at first; `owner` is the account whose they are."""
        self._end_victim()
        self.end_left()
        shutil.rmtree(self.root / "fx", ignore_errors=True)
        for folder in ("fx/open", "fx/emptydir", "fx/home"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "fx/a.txt").write_text("line\n" * 3)
        (self.root / "fx/module.py").write_text("x = 1\n")
        (self.root / "fx/open/log").write_text("l")
        (self.root / "fx/open/log").chmod(0o666)
        with contextlib.suppress(OSError):
            os.setxattr(self.root / "fx/a.txt", "user.keep", b"1")
        self.root.chmod(0o755)
        mine = os.getuid() if owner is None else owner
        for path in (
            self.root / "fx",
            *(self.root / "fx").rglob("*"),
            self.root / "run",
            *(self.root / "run").iterdir(),
        ):
            os.chown(path, mine, -1)
        for name in self._shm():
            Path("/dev/shm", name).unlink()
        ctypes.CDLL("librt.so.1").mq_unlink(f"/{self.mark}".encode())
        for kind, mine in (("shm", "-m"), ("sem", "-s"), ("msg", "-q")):
            for one in self._ipc(kind) - self._first_ipc(kind):
                subprocess.run(["ipcrm", mine, one], check=False, capture_output=True)
        self._victim = subprocess.Popen(
            ["bash", "-c", f"echo up; exec -a {self.mark} sleep 1000000"],
            stdout=subprocess.PIPE,
            user=owner,
        )
        assert self._victim.stdout is not None
        assert self._victim.stdout.readline() == b"up\n"
        os.set_blocking(self._victim.stdout.fileno(), False)
        self._heard.clear()

    def left(self) -> list[int]:
        """Processes that an attack left behind."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if f"sleep\0{self.sleep}\0".encode() in (entry / "cmdline").read_bytes():
                        found.append(int(entry.name))
        return found

    def end_left(self) -> None:
        for pid in self.left():
            os.kill(pid, signal.SIGKILL)

    def state(self) -> dict[str, str]:
        """What can be seen of everything, by name."""
        assert self._victim is not None
        assert self._victim.stdout is not None
        seen = {f"file {path.relative_to(self.root)}": _file(path) for path in sorted(self.root.rglob("*"))}
        seen |= {f"{kind} {one}": "is there" for kind in ("shm", "sem", "msg") for one in self._ipc(kind)}
        seen |= {f"/dev/shm/{name}": "is there" for name in self._shm()}
        seen |= {f"left behind {pid}": "runs" for pid in self.left()}
        queue = ctypes.CDLL("librt.so.1").mq_open(f"/{self.mark}".encode(), os.O_RDONLY)
        seen["queue"] = str(queue >= 0)
        if queue >= 0:
            os.close(queue)
        seen["cron"] = (
            " ".join(sorted(p.name for p in Path("/etc/cron.d").glob("envtui*")))
            if Path("/etc/cron.d").is_dir()
            else ""
        )
        seen["host"] = socket.gethostname()
        seen["victim"] = _process(self._victim.pid)
        seen["victim's output"] = str(self._victim.stdout.read(64))
        seen["daemons"] = " ".join(sorted(set(self._heard)))
        return seen

    def close(self) -> None:
        self._open = False
        self._thread.join()
        self._end_victim()
        self.end_left()
        for key in list(self._select.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._select.close()
        shutil.rmtree(self.root)

    def _daemons(self) -> None:
        run = self.root / "run"
        run.mkdir()
        self._ports: dict[str, int] = {}
        kinds: list[tuple[str, int, int, object]] = [
            ("PORT", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("UDP", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("PORT6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("stream", socket.AF_UNIX, socket.SOCK_STREAM, str(run / "stream")),
            ("packets", socket.AF_UNIX, socket.SOCK_SEQPACKET, str(run / "packets")),
            ("devlog", socket.AF_UNIX, socket.SOCK_DGRAM, str(run / "devlog")),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.mark}"),
            ("abstract-d", socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{self.mark}-d"),
        ]
        for name, family, type_, address in kinds:
            try:
                made = socket.socket(family, type_)
                made.bind(address)  # type: ignore[arg-type]
            except OSError:
                self._ports[name] = 9
                continue
            if type_ != socket.SOCK_DGRAM:
                made.listen()
            made.setblocking(False)
            if name.isupper() or name == "PORT6":
                self._ports[name] = made.getsockname()[1]
            self._select.register(made, selectors.EVENT_READ, (name, type_))
        os.mkfifo(run / "fifo")
        self._fifo = open(run / "fifo", "r+b", buffering=0)  # noqa: SIM115
        os.set_blocking(self._fifo.fileno(), False)
        self._select.register(self._fifo, selectors.EVENT_READ, ("fifo", 0))

    def _serve(self) -> None:
        while self._open:
            for key, _ in self._select.select(0.05):
                name, type_ = key.data
                self._heard.append(name)
                with contextlib.suppress(OSError):
                    if name == "fifo":
                        self._fifo.read(4096)
                    elif type_ == socket.SOCK_DGRAM:
                        key.fileobj.recv(4096)  # type: ignore[union-attr]
                    else:
                        with key.fileobj.accept()[0] as one:  # type: ignore[union-attr]
                            one.settimeout(0.05)
                            with contextlib.suppress(OSError):
                                one.recv(4096)
                            one.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    def _end_victim(self) -> None:
        if self._victim is not None:
            self._victim.kill()
            self._victim.wait()
            assert self._victim.stdout is not None
            self._victim.stdout.close()

    def _shm(self) -> list[str]:
        return [name for name in os.listdir("/dev/shm") if self.mark in name]

    def _first_ipc(self, kind: str) -> set[str]:
        known = self.__dict__.setdefault("_ipc_first", {})
        return known.setdefault(kind, self._ipc(kind))

    @staticmethod
    def _ipc(kind: str) -> set[str]:
        lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
        return {line.split()[1] for line in lines}


def _file(path: Path) -> str:
    seen = path.lstat()
    content = hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
    with contextlib.suppress(OSError):
        content += " ".join(os.listxattr(path, follow_symlinks=False))
    return f"{seen.st_mode:o} {seen.st_uid} {seen.st_gid} {seen.st_size} {seen.st_blocks} {seen.st_nlink} {seen.st_mtime_ns} {content} {_flags(path)}"


def _flags(path: Path) -> str:
    import fcntl

    if path.is_fifo() or path.is_socket() or path.is_symlink():
        return ""
    with contextlib.suppress(OSError):
        opened = os.open(path, os.O_RDONLY)
        try:
            return fcntl.ioctl(opened, 0x80086601, bytes(8)).hex() + fcntl.ioctl(opened, 0x801C581F, bytes(28)).hex()
        finally:
            os.close(opened)
    return ""


def _process(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        said = [Path(f"/proc/{pid}/{name}").read_text() for name in ("oom_score_adj", "limits", "coredump_filter")]
        said.append(Path(f"/proc/{pid}/timerslack_ns").read_text())
        affinity = os.sched_getaffinity(pid)
        io = ctypes.CDLL(None).syscall(252 if os.uname().machine == "x86_64" else 31, 1, pid)
    except OSError as error:
        return str(error)
    # It may only be on its way to sleep: that it runs is no effect of anybody's.
    return f"{stat[0].replace('R', 'S')} nice {stat[16]} policy {stat[38]} {affinity} {io} {said}"
