"""What runs on the host: the keeper, which reaps what the command leaves behind, and ends it when its time is over or nobody
listens any more. Stands behind `holding` in one text; imported by nobody.

The kernel asks the keeper about each call that is refused, so that a person can be told what it was. The keeper decides
nothing: it answers "not permitted", and lets calls that open something go on to Landlock.
"""

import fcntl
import select

OPEN_TO_ALL = (b"/dev/null", b"/dev/zero", b"/dev/full", b"/dev/std", b"/dev/fd/", b"/proc/self/fd/")


def alone():
    """Whether a signal from here reaches only what was started from here (Landlock of version 6): then one to everybody ends
    all of it at once, however fast it forks."""
    if call(444, None, 0, 1) < 6:
        return False
    made = call(444, struct.pack("QQQ", 0, 0, 2), 24, 0)
    if made < 0 or call(446, made, 0):
        failed("Landlock")
    os.close(made)
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return True
    refuse("a signal would reach out of here")


def end_all(reach):
    """Nobody is left who could start another. Whoever has ended still counts for the account until it is reaped, so that
    where signals go one by one there is an end to what can be started."""
    if reach:
        try:
            os.kill(-1, signal.SIGKILL)
        except OSError:
            pass
    else:
        while True:
            running = [each for each in below(os.getpid(), []) if runs(each)]
            if not running:
                break
            for each in running:
                try:
                    os.kill(each, signal.SIGKILL)
                except OSError:
                    pass
    try:
        while True:
            os.wait()
    except OSError:
        pass


def below(pid, found):
    try:
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, thread)) as known:
                for each in map(int, known.read().split()):
                    if each not in found:
                        found.append(each)
                        below(each, found)
    except OSError:
        pass  # it has ended
    return found


def runs(pid):
    try:
        with open("/proc/%d/stat" % pid) as said:
            state = said.read().rpartition(")")[2].split()[0]
        return state not in "ZX" or len(os.listdir("/proc/%d/task" % pid)) > 1
    except OSError:
        return False


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
        if not goes_on or not what.startswith(OPEN_TO_ALL):
            one = b"\0".join((b"%d" % wanted, who, what)).replace(b"\n", b" ")
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


def forgotten(nonce):
    """The nonce stands no longer among this process's words, where the command could read it, and say its end itself."""
    with open("/proc/self/cmdline", "rb") as words, open("/proc/self/stat") as said:
        at, start = words.read().find(nonce.encode()), int(said.read().rpartition(")")[2].split()[45])
    if at >= 0 and start:
        MEMSET(Long(start + at), Long(45), Long(len(nonce)))


def told_at_last(nonce, told, status):
    """What was refused, and the end of both streams with the status, as a shell has it. Nobody may listen any more."""
    lines = b"\n".join(b"%d\0%s" % (times, one) for one, times in told.items())
    said = (
        (nonce + "s" + os.uname().machine + " ").encode() + binascii.b2a_base64(lines, newline=False) if told else b""
    )
    end = ("%se%03d" % (nonce, status)).encode()
    for each, text in ((1, end), (2, said + end)):
        try:
            os.set_blocking(each, True)  # the command shares them
            while text:
                text = text[os.write(each, text) :]
        except OSError:
            pass


def main(filters, nonce, needs, seconds, words):
    if not os.path.exists("/proc/self/task/%d/children" % os.getpid()):
        refuse("this kernel does not tell a process its children")
    try:
        seconds = float(seconds)
        os.chdir(os.environ.pop("envtui_cwd", "."))
    except (OSError, ValueError) as error:
        refuse("its time, or its directory: %s" % error)
    if not 0 < seconds < 1 << 21:
        refuse("it may not take so long")
    if prctl(38, 1) or prctl(36, 1):
        failed("nobody would reap what the command leaves behind")
    for each in (1, 2):
        if os.fstat(each).st_mode & 0o170000 == 0o010000 and os.fstat(each).st_uid == os.geteuid():
            os.fchmod(each, 0o200)  # whoever could read what it says would seem to listen when nobody does
    reach = alone()
    if nonce:
        forgotten(nonce)
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
    told, status = {}, signal.SIGKILL
    try:
        status = keep(child, woken, heard, stopped, told, seconds)
    finally:
        end_all(reach)
        status = 128 + (status & 127) if status & 127 else status >> 8
        if nonce:
            told_at_last(nonce, told, status)
        os._exit(status)
