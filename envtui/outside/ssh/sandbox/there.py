"""What runs on the host. Sent as text and compiled there before each read, by any python3 from 3.6 on; imported by nobody.

It becomes two processes: the keeper, which reaps what the command leaves behind and ends it when its time is over or nobody
listens any more, and the command itself, behind everything that the kernel can hold for it. What cannot be put up is said,
and nothing runs. What a book puts into the environment comes under names that mean nothing to a loader or to python.
"""

import _signal as signal  # the one beneath: it needs no enum, which takes longer than all the rest
import binascii
import ctypes
import errno
import os
import resource
import select
import struct
import time
import zlib

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_DATA, 2 << 30),
    (resource.RLIMIT_AS, 64 << 30),
    (resource.RLIMIT_NOFILE, 4096),
    (resource.RLIMIT_NPROC, 512),
    (resource.RLIMIT_MSGQUEUE, 0),
    (resource.RLIMIT_MEMLOCK, 64 << 10),
)


def refuse(why):
    os.write(2, f"envtui-sandbox: {why}\n".encode())
    os._exit(97)


def failed(what):
    refuse(what + ": " + os.strerror(ctypes.get_errno()))


def call(*words):
    return LIBC.syscall(*[ctypes.c_long(word) if isinstance(word, int) else word for word in words])


def landlock(needs):
    """No right to change a file, of what this kernel knows; no TCP; from version 6 on no signal and no socket outside."""
    version = call(444, None, 0, 1)
    if version < 3:
        refuse("this kernel has no Landlock of version 3 (Linux 6.2), it has %d" % max(version, 0))
    files = sum(1 << bit for bit in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14))
    if version >= 5:
        files |= 1 << 15
    rules = struct.pack("QQQ", files, 1 if "n" in needs else 3, 2 if "s" in needs else 3)
    rules = rules[: 8 if version < 4 else 16 if version < 6 else 24]
    made = call(444, rules, len(rules), 0)
    if made < 0:
        failed("Landlock")
    for path in ("/dev/null", "/dev/zero", "/dev/full"):
        if os.path.exists(path):
            opened = os.open(path, os.O_PATH)
            call(445, made, 1, struct.pack("=Qi", files & (1 << 1 | 1 << 14 | 1 << 15), opened), 0)
            os.close(opened)
    if call(446, made, 0):
        failed("Landlock")
    os.close(made)
    return version


def filtered(filters, scoped):
    """Each filter stands behind its name (`x86_64`, `x86_64+` where signals are scoped) and its length."""
    machine, known = os.uname().machine, zlib.decompress(binascii.a2b_base64(filters))
    wanted = (machine + "+" * scoped).encode()
    while known:
        name, _, known = known.partition(b" ")
        length = int(known[:5])
        if name == wanted:
            held = ctypes.create_string_buffer(known[5 : 5 + length], length)
            if LIBC.prctl(22, 2, struct.pack("HP", length // 8, ctypes.addressof(held)), 0, 0):
                failed("seccomp")
            return
        known = known[5 + length :]
    refuse("there is no list of system calls for " + machine)


def canaries(needs):
    """What must fail now: to write a file that is one's own, to make and to change one that is not there, to call somebody."""
    nowhere = "/proc/self/envtui-canary"
    tries = [lambda: os.open("/proc/self/comm", os.O_WRONLY), lambda: os.mkdir(nowhere), lambda: os.chmod(nowhere, 0)]
    if "s" not in needs:
        tries.append(lambda: reached(LIBC.socket(1, 1, 0)))
    for number, attempt in enumerate(tries, 1):
        try:
            attempt()
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                continue
        refuse("canary %d lives, so nothing holds here" % number)


def reached(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def become(filters, nonce, needs, words):
    """The command, behind all of it. Its output begins with the mark only when everything holds."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for each in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)  # python ignores SIGPIPE, and what it starts would, too
    os.closerange(3, 1 + max(int(name) for name in os.listdir("/proc/self/fd")))
    for kind, most in LIMITS:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if os.geteuid() == 0:
        kept = (2, 19, 34) if "r" in needs else ()  # DAC_READ_SEARCH, SYS_PTRACE and SYSLOG: they read
        for power in range(64):
            if power not in kept and LIBC.prctl(24, power, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
                failed("a capability could not be dropped")
    with open("/proc/self/oom_score_adj", "w") as first:
        first.write("1000")  # when memory runs out, this goes and not what the host is for
    if LIBC.prctl(38, 1, 0, 0, 0):
        failed("no_new_privs")
    for name in [each for each in os.environ if each.startswith("envtui_env_")]:
        os.environ[name[11:]] = os.environ.pop(name)
    filtered(filters, landlock(needs) >= 6)
    canaries(needs)
    if nonce:
        os.write(1, (nonce + "b").encode())
        os.write(2, (nonce + "b" + ("%d\n" % time.time() if "d" in needs else "")).encode())
    try:
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {os.strerror(error.errno)}\n".encode())
        os._exit(127 if error.errno == errno.ENOENT else 126)


def children():
    with open("/proc/self/task/%d/children" % os.getpid()) as known:
        return [int(each) for each in known.read().split()]


def end_all():
    """Everything that the command left behind comes to the keeper when its parent dies; again until nobody is left."""
    while True:
        left = children()
        if not left:
            return
        for each in left:
            try:
                os.kill(each, signal.SIGKILL)
                os.waitpid(each, 0)
            except OSError:
                pass


def keep(child, woken, stopped, seconds):
    """Until the command ends, its time is over, somebody says so, or nobody reads what it says. Its status, as wait(2) has it."""
    poll, until = select.poll(), time.monotonic() + seconds
    poll.register(woken, select.POLLIN)
    for each in (1, 2):
        poll.register(each, 0)
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        left = until - time.monotonic()
        if gone or left <= 0 or stopped:
            return status if gone else signal.SIGKILL
        happened = [each for each, _ in poll.poll(left * 1000)]
        if woken in happened:
            os.read(woken, 64)
        elif happened:
            return signal.SIGKILL


def main(filters, nonce, needs, seconds, words):
    if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        refuse("this kernel does not tell a process its children")
    if LIBC.prctl(36, 1, 0, 0, 0):
        failed("nobody would reap what the command leaves behind")
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    stopped = []
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, lambda *_: stopped.append(1))
    child = os.fork()
    if not child:
        LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
        become(filters, nonce, needs, words)
    LIBC.prctl(4, 0, 0, 0, 0)  # the command may not look into its keeper
    status = keep(child, woken, stopped, float(seconds))
    end_all()
    os._exit(128 + (status & 127) if status & 127 else status >> 8)
