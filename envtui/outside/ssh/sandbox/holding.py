"""What runs on the host: the command, behind everything that the kernel can hold for it.

With `keeping` behind it this is one text, sent with each read and run by any python3 from 3.6 on; imported by nobody. What
cannot be put up is said, and nothing runs. What a book puts into the environment comes under names that mean nothing to a
loader or to python.
"""

import _ctypes  # the ones beneath: what stands on them takes longer to import than all the rest
import _signal as signal
import _socket as socket
import _thread
import binascii
import errno
import marshal
import os
import resource
import struct
import sys
import time
import zlib


class Long(_ctypes._SimpleCData):
    _type_ = "l"


class Char(_ctypes._SimpleCData):
    _type_ = "c"


class LIBC:
    _handle = _ctypes.dlopen(None, 0)


class Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Long


SYSCALL, PRCTL, MEMSET = (Function((name, LIBC)) for name in ("syscall", "prctl", "memset"))
LIMITS = (
    (resource.RLIMIT_CORE, 1),  # at 0 the kernel would start the host's program for cores
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_DATA, 2 << 30),
    (resource.RLIMIT_AS, 64 << 30),
    (resource.RLIMIT_NOFILE, 4096),
    (resource.RLIMIT_NPROC, 512),
    (resource.RLIMIT_SIGPENDING, 1024),  # timers of the account count, too
    (resource.RLIMIT_MSGQUEUE, 0),
    (resource.RLIMIT_MEMLOCK, 64 << 10),
)
MACHINES = {"x86_64": (317, (2, 257)), "aarch64": (277, (56,))}  # seccomp(2); open and openat
NOBODY = {b"\6\0\0\0\1\0\xc0\x7f": b"\6\0\0\0\1\0\5\0", b"\6\0\0\0\2\0\xc0\x7f": b"\6\0\0\0\0\0\xff\x7f"}
READ = (2, 19, 34)  # CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYSLOG
KINDS = 20  # so many refused calls are told apart


def refuse(why):
    os.write(2, f"envtui-sandbox: {why}\n".encode())
    os._exit(97)


def failed(what):
    refuse(what + ": " + os.strerror(_ctypes.get_errno()))


def call(*words):
    """The system call of this number: -1 and errno, or what it returns. Bytes are handed on by address."""
    return SYSCALL(*[Long(word) if isinstance(word, int) else word for word in words])


def prctl(*words):
    return PRCTL(*[Long(word) for word in (words + (0, 0, 0, 0))[:5]])


def landlock(needs):
    """No right to change a file, of what this kernel knows; no TCP; from version 6 on no signal and no socket outside.

    Some devices act on being opened (a terminal of somebody's, a watchdog, a tape): those are read that do not."""
    version = call(444, None, 0, 1)
    if version < 3:
        refuse("this kernel has no Landlock of version 3 (Linux 6.2), it has %d" % max(version, 0))
    files = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
    if version >= 5:
        files |= 1 << 15
    reads = 1 << 2
    files |= reads
    rules = struct.pack("QQQ", files, 1 if "n" in needs else 3, 2 if "s" in needs else 3)
    rules = rules[: 8 if version < 4 else 16 if version < 6 else 24]
    made = call(444, rules, len(rules), 0)
    if made < 0:
        failed("Landlock")
    rights = dict.fromkeys(readable("r" in needs), reads)
    rights.update(dict.fromkeys(("/dev/null", "/dev/zero", "/dev/full"), files & (1 << 1 | reads | 1 << 14 | 1 << 15)))
    for path, place in opened(rights).items():
        call(445, made, 1, struct.pack("=Qi", rights[path], place), 0)
        os.close(place)
    if call(446, made, 0):
        failed("Landlock")
    os.close(made)
    return version


def readable(disks):
    """Everything but devices, and but what is thrown away when it was read."""
    found = beneath("", ("dev", "sys") if os.geteuid() == 0 else ("dev",))
    found += ["/dev/" + name for name in ("random", "urandom", "kmsg", "shm", "mqueue")]
    if os.geteuid() == 0:
        found += beneath("/sys", ("kernel",)) + beneath("/sys/kernel", ("tracing", "debug"))
        found += beneath("/sys/kernel/debug", ("tracing",))
    if disks:
        found += ["/dev" + path[16:] for path in beneath("/sys/class/block") if path[17:19] not in ("sr", "fd")]
    return found


def beneath(folder, without=()):
    try:
        return [folder + "/" + name for name in os.listdir(folder or "/") if name not in without]
    except OSError:
        return []


def opened(paths):
    """{path: descriptor} of those that are there. A mount of the network whose server is away is left out: nobody waits for
    it, and exec ends whoever still asks for it."""
    remote, places = set(), {}
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            place, _, kind = line.partition(" - ")
            if kind.startswith(("nfs", "cifs", "smb", "ceph", "fuse", "autofs", "afs", "9p", "lustre", "gfs", "ocfs")):
                remote.add(place.split()[4])

    def one(path):
        try:
            places[path] = os.open(path, os.O_PATH)
        except OSError:
            waited.discard(path)

    waited = remote.intersection(paths)
    for path in tuple(waited):
        _thread.start_new_thread(one, (path,))
    for path in paths:
        if path not in remote:
            one(path)
    until = time.monotonic() + 0.3
    while not waited.issubset(places) and time.monotonic() < until:
        time.sleep(0.002)
    return dict(places)


def filtered(filters, scoped, keeper):
    """Each filter stands behind its name (`x86_64`, `x86_64+` where signals are scoped) and its length.

    The kernel's questions go to the keeper; where it cannot ask (another program listens already) it answers by itself."""
    machine, known = os.uname().machine, zlib.decompress(binascii.a2b_base64(filters))
    wanted = (machine + "+" * scoped).encode()
    while known:
        name, _, known = known.partition(b" ")
        length = int(known[:5])
        if name == wanted:
            code = known[5 : 5 + length]
            if keeper:
                asks = seccomp(machine, code, 1 << 3 | 1 << 5)  # a listener; only what ends it interrupts a question
                if asks >= 0:
                    keeper.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", asks))])
                    os.close(asks)
                    return
            steps = (code[at : at + 8] for at in range(0, length, 8))
            if seccomp(machine, b"".join(NOBODY.get(step, step) for step in steps), 0):
                failed("seccomp")
            return
        known = known[5 + length :]
    refuse("there is no list of system calls for " + machine)


def seccomp(machine, code, flags):
    held = type("Held", (_ctypes.Array,), {"_type_": Char, "_length_": len(code)}).from_buffer_copy(code)
    return call(MACHINES[machine][0], 1, flags, struct.pack("HP", len(code) // 8, _ctypes.addressof(held)))


def powers(kept):
    """Capabilities go, but for `kept`; what is inherited or ambient, too, which exec would give back."""
    for power in range(64 if os.geteuid() == 0 else 0):
        if power not in kept and prctl(24, power) and _ctypes.get_errno() != errno.EINVAL:
            failed("a capability could not be dropped")
    prctl(47, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    header, held = struct.pack("Ii", 0x20080522, 0), bytearray(24)
    numbers = {"x86_64": (125, 126), "aarch64": (90, 91)}[os.uname().machine]
    place = type("Held", (_ctypes.Array,), {"_type_": Char, "_length_": 24}).from_buffer(held)
    if call(numbers[0], header, Long(_ctypes.addressof(place))):
        failed("nobody says what the capabilities are")
    low, high = struct.unpack("III", held[:12]), struct.unpack("III", held[12:])
    both = sum(1 << power for power in kept)
    low, high = [each & both for each in low[:2]], [each & both >> 32 for each in high[:2]]
    if call(numbers[1], header, struct.pack("6I", *low, 0, *high, 0)):
        failed("capabilities could not be dropped")


def canary(what, attempt):
    """What must fail now, for each layer: to change what is one's own, or is not there."""
    try:
        attempt()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return
    refuse("a canary lives, so %s are not held here" % what)


def become(filters, nonce, needs, words, keeper):
    """The command, behind all of it. Its output begins with the mark only when everything holds.

    `keeper` is a socket that leads there; its end at exec tells the keeper that the command itself has begun."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)  # python ignores SIGPIPE, and what it starts would, too
    kept = keeper.fileno() if keeper else 2
    if (kept > 3 and call(436, 3, kept - 1, 0)) or call(436, kept + 1, 0x7FFFFFFF, 0):  # close_range(2)
        failed("what was open could not be closed")
    with open("/proc/loadavg") as load:
        running = int(load.read().split()[3].partition("/")[2])
    for kind, most in LIMITS:
        if kind == resource.RLIMIT_NPROC:
            most += running  # it is the account's, which may have a service of many threads
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    powers(READ if "r" in needs and os.geteuid() == 0 else ())
    first = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(first, b"1000")  # when memory runs out, this goes and not what the host is for
    os.close(first)
    for name in [each for each in os.environ if each.startswith("envtui_env_")]:
        os.environ[name[11:]] = os.environ.pop(name)
    scoped = landlock(needs) >= 6
    canary("files", lambda: os.open("/proc/self/comm", os.O_WRONLY))  # its own name
    filtered(filters, scoped, keeper)
    canary("calls", lambda: os.chmod("/proc/self/envtui-canary", 0))  # which is not there
    if nonce:
        os.write(1, (nonce + "b").encode())
        os.write(2, (nonce + "b" + ("%d %s\n" % (time.time(), compiled()) if "d" in needs else "")).encode())
    try:
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {os.strerror(error.errno)}\n".encode())
        os._exit(127 if error.errno == errno.ENOENT else 126)


def compiled():
    """This text as python has compiled it, for the next reads over the connection: compiling takes a fifth of the time."""
    known = zlib.compress(marshal.dumps(lean(CODE)), 9)
    return "%d-" % sys.hexversion + binascii.b2a_base64(known, newline=False).decode()


def lean(code):
    """Without the numbers of lines, which are a third of it and go over a slow network with each read."""
    inner = tuple(lean(each) if isinstance(each, type(code)) else each for each in code.co_consts)
    for name in ("co_linetable", "co_lnotab"):
        try:
            return code.replace(co_consts=inner, **{name: b""})
        except (AttributeError, TypeError):
            pass
    return code
