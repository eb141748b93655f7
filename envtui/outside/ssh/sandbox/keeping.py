"""What runs on the host: the keeper, which reaps what the command leaves behind, and ends it when its time is over or nobody
listens any more. Stands behind `holding` in one text; imported by nobody.

The kernel asks the keeper about each call that is refused, so that a person can be told what it was. The keeper decides
nothing: it answers "not permitted", and lets calls that open something go on to Landlock.
"""

import fcntl
import select


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


def answer(asks, told):
    """One question of the kernel about a call. `told`, if anything: what was asked, and how often."""
    asked = bytearray(80)
    try:
        fcntl.ioctl(asks, 0xC0502100, asked)  # SECCOMP_IOCTL_NOTIF_RECV
    except OSError:
        return  # whoever called is gone
    number, pid, _, wanted, _, _, first, second = struct.unpack("QIIiIQQQ", asked[:48])
    goes_on = wanted in MACHINES[os.uname().machine][1]
    if told is not None:
        try:
            with open("/proc/%d/comm" % pid, "rb") as name:
                who = name.read().strip()
            what = text_at(pid, first) or text_at(pid, second) or b"%d" % first
        except OSError:
            who = what = b""
        if not goes_on or what not in (b"/dev/null", b"/dev/zero", b"/dev/full"):
            one = b"\0".join((b"%d" % wanted, who, what))
            if one in told or len(told) < KINDS:
                told[one] = told.get(one, 0) + 1
    said = struct.pack("QqiI", number, 0, 0 if goes_on else -errno.EPERM, int(goes_on))
    try:
        fcntl.ioctl(asks, 0xC0182101, said)  # SECCOMP_IOCTL_NOTIF_SEND
    except OSError:
        pass


def text_at(pid, address):
    """What a process has at an address, as far as it is one."""
    try:
        with open("/proc/%d/mem" % pid, "rb", 0) as memory:
            memory.seek(address)
            return memory.read(200).partition(b"\0")[0]
    except (OSError, OverflowError):
        return b""


def keep(child, woken, heard, stopped, told, seconds):
    """Until the command ends, its time is over, somebody says so, or nobody reads what it says. Its status, as wait(2) has it."""
    poll, until, asks, begun = select.poll(), time.monotonic() + seconds, -1, False
    poll.register(woken, select.POLLIN)
    poll.register(heard.fileno(), select.POLLIN)
    for each in (1, 2):
        poll.register(each, 0)
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        left = until - time.monotonic()
        if gone or left <= 0 or stopped:
            return status if gone else signal.SIGKILL
        for each, how in poll.poll(left * 1000):
            if each == woken:
                os.read(woken, 64)
            elif each == heard.fileno():
                said, parts, _, _ = heard.recvmsg(1, socket.CMSG_SPACE(4))
                if said:
                    asks = struct.unpack("i", parts[0][2])[0]
                    poll.register(asks, select.POLLIN)
                else:
                    begun = True
                    poll.unregister(each)
            elif each == asks and how & select.POLLIN:
                answer(asks, told if begun else None)
            elif each == asks:
                poll.unregister(each)  # nobody is left to ask about
            else:
                return signal.SIGKILL


def main(filters, nonce, needs, seconds, words):
    if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        refuse("this kernel does not tell a process its children")
    if prctl(36, 1):
        failed("nobody would reap what the command leaves behind")
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    stopped = []
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(each, lambda *_: stopped.append(1))
    heard, keeper = socket.socketpair()
    child = os.fork()
    if not child:
        prctl(1, signal.SIGKILL)
        become(filters, nonce, needs, words, keeper if nonce else None)
    keeper.close()
    prctl(4, 0)  # the command may not look into its keeper
    told = {}
    status = keep(child, woken, heard, stopped, told, float(seconds))
    end_all()
    if told:
        lines = b"\n".join(b"%d\0%s" % (times, one) for one, times in told.items())
        try:
            os.write(2, (nonce + "s" + os.uname().machine + " ").encode() + binascii.b2a_base64(lines, newline=False))
        except OSError:
            pass  # nobody listens
    os._exit(128 + (status & 127) if status & 127 else status >> 8)
