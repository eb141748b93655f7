"""What runs at a host for a write, as programs for /bin/sh: they start an act once, say what became of it, and end it.

A write's state is `$HOME/.envtui/MEMBER/PERMIT/` of the account that the act runs as, so that it outlives the connection:
`out`, `err`, and `state`, with a line for boot id, process group, pid and start time of the shell that waits for the command,
and one for the status when it has ended (one file for both: to make one costs a write up to a millisecond). Making PERMIT
with a plain `mkdir` is the lock: what was started once is not started again. Everything above it must be a directory, no
link, of the account itself and closed to others, or nothing is run.

The command writes into files, so a connection that ends cannot end it, and nothing that it said is lost. Its shell waits for
it, survives a TERM to the group, and writes the status. A watch beside it ends the group when nobody did in time.

The programs stand on the command line as they are, in single quotes that every login shell reads alike: they hold no single
quote, backslash, bang or newline. What a book wrote goes beside them, coded (`bootstrap`), or by stdin when it is secret.
Every name in them begins with `envtui_`, so that none is a variable which the account exports.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import msgspec

from envtui.core.errors import EnvtuiError, Failed, Refused, UsageError

from .bootstrap import DECODED, LINE_LIMIT, Command, Launch, as_account, bare, body, encoded, is_plain, quoted

HEAD = 64 * 1024
"""Bytes of each stream that the channel of a write prints at its end, so that a short one costs one exec."""

PIECE = 64 * 1024 * 1024
"""Bytes of each stream that one look brings at most."""

STARTED = "run"
"""The status of a detached write: it was started, and goes on."""

NOTHING = "non"
"""The status of a look that found no directory of that permit."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PERMIT = re.compile(r"[A-Za-z0-9_]{1,64}")


def _joined(text: str) -> str:
    return " ".join(text.split("\n")).strip()


# $1 is the nonce everywhere. `envtui_f` ends with a word instead of a status; nothing was run then.
_FRAME = "envtui_n=$1;printf ${envtui_n}b;printf ${envtui_n}b>&2;"
_FAIL = "envtui_f(){ printf ${envtui_n}e$1;printf ${envtui_n}e$1>&2;exit 1; };"

# $2 is the member and $3 the permit. HOME is what the account says, or what the host says of the account after sudo, which may
# leave HOME as it was.
_HOME = _joined("""
envtui_h=HOME;
case $envtui_h in /*);;*)envtui_f hom;esac;
envtui_e=$envtui_h/.envtui;envtui_d=$envtui_e/$2;envtui_l=$envtui_d/$3;
if [ -h "$envtui_e" ]||[ -h "$envtui_d" ];then envtui_f lnk;fi;
""")
# `-O` and `ls -n`, because there is no other way to see owner and mode without one more process.
_OWN = '[ -O "$envtui_e" ]&&[ -O "$envtui_d" ]||envtui_f own;'
_OURS = _joined("""
[ -O "$envtui_e" ]&&[ -O "$envtui_d" ]||envtui_f own;
case $(cd -P "$envtui_d"&&LC_ALL=C ls -ldn . ..) in drwx------*" ."?drwx------*" ..");;*)envtui_f mod;esac;
""")

# Who this shell is, by what the kernel says of it: fields 3 and 20 after the name are process group and start time. `$$` would
# be another shell in a subshell, and the group need not be its own: after sudo it is not.
_WHO = _joined("""
envtui_s(){ envtui_g=$3;envtui_t=${20}; };envtui_b=-;envtui_p=$$;envtui_g=0;envtui_t=0;
if read -r envtui_x;then envtui_p=${envtui_x%% *};envtui_s ${envtui_x##*) };
read -r envtui_b</proc/sys/kernel/random/boot_id;fi 2>/dev/null</proc/self/stat;
envtui_x="$envtui_b $envtui_g $envtui_p $envtui_t";
""")

# $4 is the size of the input, or -. It is stored in a file without a name, and read by nobody until it is whole.
_SET_UP = (
    _FRAME
    + _FAIL
    + "envtui_w||envtui_f cwd;"
    + _HOME
    + _joined("""
if [ -d "$envtui_d" ];then :;else
[ -d "$envtui_e" ]||mkdir -m 700 "$envtui_e" 2>/dev/null;mkdir -m 700 "$envtui_d" 2>/dev/null;fi;
if [ -d "$envtui_d" ];then :;else [ -w "$envtui_h" ]&&envtui_f ful;envtui_f hom;fi;
""")
    + _OURS
    + _joined("""
envtui_u(){ rm -rf "$envtui_l";envtui_f $1; };
LC_ALL=C mkdir -m 700 "$envtui_l" 2>/dev/null||{
if [ -e "$envtui_l" ]||[ -h "$envtui_l" ];then envtui_f dup;fi;LC_ALL=C mkdir "$envtui_l"&&rmdir "$envtui_l";envtui_f ful; };
""")
    + _WHO
    + _joined("""
echo $envtui_x>"$envtui_l/state"&&read -r envtui_y<"$envtui_l/state"&&[ "$envtui_y" = "$envtui_x" ]
&&printf "">"$envtui_l/out"&&printf "">"$envtui_l/err"||envtui_u ful;
""")
)
_INPUT = _joined("""
printf "">"$envtui_l/in"||envtui_u ful;
exec 7<"$envtui_l/in" 8<"$envtui_l/in" 9>"$envtui_l/in";rm -f "$envtui_l/in";
cat>&9||envtui_u ful;exec 9>&-;envtui_x=$(wc -c<&8);[ $envtui_x -eq $4 ]||envtui_u cut;exec 8<&-;
""")

# Whoever waits for the command may be gone: then nobody ends it when its time is over, but this watch. It is ended with the
# command, by a number that comes through a file, because the usual way to it needs a bang. It carries the permit, too.
# A shell that has just been forked still has its parent's handlers, and forgets a signal that it gets then (dash): so the
# watch begins before the traps of the shell that ends it, and its sleep is ended by KILL. mksh may lose one even so: where
# the status is written, or the directory gone, nothing is ended.
_LATE = '[ -f "$envtui_l/state" ]||exit;{ read -r envtui_x&&read -r envtui_x&&exit; }<"$envtui_l/state";'
_WATCH = _joined("""
(trap envtui_y=1 TERM;ENVTUI_ACT=$3 sleep SECONDS& jobs -p>"$envtui_l/watch";read -r envtui_x<"$envtui_l/watch";
trap "kill -s KILL $envtui_x;exit" TERM;[ "$envtui_y" = 1 ]&&{ kill -s KILL $envtui_x;exit; };wait;LATE
trap "" TERM;kill -s TERM -- -$envtui_g;kill -s CONT -- -$envtui_g;ENVTUI_ACT=$3 sleep 10;kill -s KILL -- -$envtui_g
)</dev/null >/dev/null 2>&1& jobs -p>"$envtui_l/err";read -r envtui_k<"$envtui_l/err";
""").replace("LATE", _LATE)
# A trap that is no ignored signal is gone in the command. What the shell says of a killed command is nobody's output.
_RUN = _joined("""
WATCHtrap : HUP INT TERM PIPE;
{ (envtui_c)>"$envtui_l/out" 2>"$envtui_l/err"INPUT;envtui_r=$?;echo $envtui_r>>"$envtui_l/state";
[ "$envtui_k" ]&&kill -s TERM $envtui_k; } 2>/dev/null;
""")
_TELL = _joined(f"""
if [ -s "$envtui_l/out" ];then LC_ALL=C head -c {HEAD} "$envtui_l/out";fi;
if [ -s "$envtui_l/err" ];then LC_ALL=C head -c {HEAD} "$envtui_l/err">&2;fi;
printf ${{envtui_n}}e%03d $envtui_r;printf ${{envtui_n}}e%03d $envtui_r>&2;exit $envtui_r
""")

# The shell that waits for a detached command: $1 the directory, $2 the seconds it may take, and by stdin what to run. It says
# a dot when it is known where it can be found, and only then runs it. Its watch is ended with it; once the time is over the
# watch ignores TERM, so that it lives to send KILL.
_WAITS = (
    'envtui_l=$1;eval "$(cat)";'
    + _WHO
    + _joined("""
echo $envtui_x>"$envtui_l/state"&&printf .||exit 1;exec </dev/null >/dev/null 2>&1 6<&-;
trap "" HUP;
envtui_z(){ kill -s KILL $!;exit; };
(trap envtui_z TERM;sleep $2& wait $!;LATE trap "" TERM;
kill -s TERM -- -$envtui_g;kill -s CONT -- -$envtui_g;sleep 10;kill -s KILL -- -$envtui_g)& envtui_k=$!;
trap : INT TERM PIPE;(envtui_c)>"$envtui_l/out" 2>"$envtui_l/err"INPUT;echo $?>>"$envtui_l/state";kill -s TERM $envtui_k
""").replace("LATE", _LATE)
)
# $6 the seconds, $7 the above, coded, because it needs `$!`. In a session of its own where that can be had: sudo ends what is
# left of its own. (Where systemd ends what a login leaves, KillUserProcesses, the account needs `loginctl enable-linger`.)
_DETACH = _joined(f"""
envtui_k="{DECODED.format("$7")}";
""") + _joined("""
envtui_y=$(printf %s "$envtui_x"|{
if command -v setsid>/dev/null 2>&1;then ENVTUI_ACT=$3 setsid /bin/sh -c "$envtui_k" sh "$envtui_l" $6 <&6 2>/dev/nullPASS&
else (set -- "$envtui_l" $6;eval "$envtui_k") <&6 2>/dev/null& fi; } 6<&0);
[ "$envtui_y" = . ]||envtui_u ful;
printf ${envtui_n}erun;printf ${envtui_n}erun>&2
""")

# $4 and $5: the first byte wanted of each stream, counting from 1; $6: how many at most. The order matters: whether the shell
# lives, then what it wrote (again), then the sizes, so that who is seen dead has written all that it ever wrote.
_LOOK = (
    _FRAME
    + _FAIL
    + _HOME
    + _joined("""
if [ -h "$envtui_l" ];then envtui_f lnk;fi;
[ -e "$envtui_l" ]||envtui_f non;
[ -d "$envtui_l" ]||envtui_f lnk;
[ -O "$envtui_e" ]&&[ -O "$envtui_d" ]&&[ -O "$envtui_l" ]&&cd -P "$envtui_l" 2>/dev/null||envtui_f own;
case $(LC_ALL=C ls -ldn . .. ../.. 2>/dev/null) in drwx------*" ."?drwx------*" .."?drwx------*" ../..");;*)envtui_f mod;esac;
for envtui_x in state out err;do
if [ -h $envtui_x ];then envtui_f lnk;fi;if [ -e $envtui_x ];then [ -f $envtui_x ]||envtui_f lnk;fi;done;
{ set -f;envtui_x=;if [ -f state ];then envtui_x=$(head -c 100 state;echo .);fi;
envtui_v=-;envtui_b=-;
envtui_t(){ case $3 in Z|X);;*)if [ $5 = "$1" ]&&[ ${22} = "$2" ];then envtui_v=1;fi;esac; };
envtui_s(){ [ "$3" -gt 0 ]&&read -r envtui_y</proc/$3/stat&&envtui_t $2 $4 ${envtui_y##*) }; };
if [ -r /proc/self/stat ];then envtui_v=0;read -r envtui_b</proc/sys/kernel/random/boot_id;envtui_s $envtui_x;fi;
case $envtui_v$envtui_x in 1*|-|0);;*)envtui_x=$(head -c 100 state;echo .);esac;
envtui_o=0;envtui_r=0;envtui_s(){ envtui_o=$1;envtui_r=$3; };
if [ -f out ]&&[ -f err ];then envtui_s $(wc -c out err);fi; } 2>/dev/null;
printf %s "$envtui_v $envtui_b $envtui_o $envtui_r$envtui_n,$envtui_x$envtui_n,";
if [ $envtui_o -ge $4 ]&&[ $6 -gt 0 ];then tail -c +$4 out 2>/dev/null|head -c $6;fi;
if [ $envtui_r -ge $5 ]&&[ $6 -gt 0 ];then tail -c +$5 err 2>/dev/null|head -c $6>&2;fi;
printf ${envtui_n}e000;printf ${envtui_n}e000>&2
""")
)

# $2 boot id, $3 process group, $4 pid and $5 start time of its shell, $6 permit, $7 a signal or -. A group is ours while that
# shell is in it, or a process that carries the permit in its environment; nothing is sent to any other. It prints who was in
# it before the signal: `l` that shell, `m` marked, `o` others; `p` when somebody may be whom this account is not shown (hidepid).
_GROUP = (
    _FRAME
    + _FAIL
    + _joined("""
[ -r /proc/self/stat ]||envtui_f npr;
read -r envtui_b</proc/sys/kernel/random/boot_id;[ "$envtui_b" = "$2" ]||[ "$2" = - ]||envtui_f boo;
envtui_o=;envtui_q=$6;
envtui_s(){ case $5 in Z|X)return;esac;[ $7 = $1 ]||return;
if [ $2 = $4 ]&&[ ${24} = $3 ];then envtui_o=${envtui_o}l;return;fi;
envtui_k=o;
{ while read -r envtui_y||[ -n "$envtui_y" ];do
case $envtui_y in *ENVTUI_ACT=$envtui_q*)envtui_k=m;esac;done; } 2>/dev/null</proc/$4/environ;
envtui_o=$envtui_o$envtui_k; };
for envtui_x in $(grep -l -s " $3 " /proc/[0-9]*/stat);do
if read -r envtui_y;then envtui_s $3 $4 $5 ${envtui_y%% *} ${envtui_y##*) };fi 2>/dev/null<$envtui_x;done;
[ -r /proc/1/stat ]||case $(LC_ALL=C kill -s 0 -- -$3 2>&1) in *ermitted*)envtui_o=${envtui_o}p;esac;
case $7$envtui_o in -*);;*[lm]*)kill -s $7 -- -$3;kill -s CONT -- -$3;esac 2>/dev/null;
printf %s "$envtui_o";printf ${envtui_n}e000;printf ${envtui_n}e000>&2
""")
)

# Whether any process of the host carries the permit in its environment.
_MARKED = (
    _FRAME
    + _FAIL
    + _joined("""
[ -r /proc/self/stat ]||envtui_f npr;
cat /proc/[0-9]*/environ 2>/dev/null|LC_ALL=C tr -c A-Za-z0-9_= ,|LC_ALL=C grep -c ,ENVTUI_ACT=$2,;
printf ${envtui_n}e000;printf ${envtui_n}e000>&2
""")
)

_FORGET = (
    _FRAME + _FAIL + _HOME + _OURS + 'cd -P "$envtui_d"&&rm -rf ./$3;printf ${envtui_n}e000;printf ${envtui_n}e000>&2'
)

# Names of at most 500 directories with the time of their last change, and the host's own time.
_LIST = (
    _FRAME
    + _FAIL
    + _HOME
    + '[ -d "$envtui_d" ]||envtui_f non;'
    + _OURS
    + _joined("""
cd -P "$envtui_d";date +%s;envtui_i=0;
for envtui_x in *;do
if [ -e "$envtui_x" ]||[ -h "$envtui_x" ];then
printf %s. "$envtui_x";stat -c %Y ./"$envtui_x" 2>/dev/null||stat -f %m ./"$envtui_x" 2>/dev/null||echo;
envtui_i=$((envtui_i+1));[ $envtui_i -lt 500 ]||break;fi;done;
printf ${envtui_n}e000;printf ${envtui_n}e000>&2
""")
)

_REFUSALS: dict[str, tuple[Callable[[str, str], EnvtuiError], str, str]] = {
    "hom": (
        Refused,
        "has no home there that it can write to",
        "A write keeps its state in $HOME/.envtui: give the account a home of its own.",
    ),
    "lnk": (
        Refused,
        "has a link, or something else that does not belong there, where a write keeps its state",
        "Look who made it, then remove $HOME/.envtui.",
    ),
    "own": (
        Refused,
        "does not own the directories in which a write keeps its state",
        "Look who made $HOME/.envtui there, then remove it.",
    ),
    "mod": (
        Refused,
        "lets others into the directories in which a write keeps its state",
        "$HOME/.envtui and what is in it must have the mode 0700; look what others put there.",
    ),
    "dup": (
        Refused,
        "has started this permit before",
        "A permit is for one attempt: look at what became of that one.",
    ),
    "ful": (Failed, "could not write down there that it starts", "Make room on the file system of its home."),
    "cut": (
        Refused,
        "did not get the whole input of the command",
        "A start file of the account may read what is sent; take that out.",
    ),
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found. `leads`: whether the shell that waits for the command lives; None where the host cannot say.

    `out`, `err`: sizes in bytes. `exit`: a hint, because the account can write it. `who` is None while, or because, it was not
    written.
    """

    boot: str = "-"
    leads: bool | None = None
    who: Who | None = None
    exit: int | None = None
    out: int = 0
    err: int = 0


class Who(msgspec.Struct, frozen=True):
    """Boot id, process group, pid and start time (in ticks since the boot) of the shell that waits for a command."""

    boot: str
    group: int
    pid: int
    start: int


_SEEN = re.compile(r"([-01]) (-|[0-9a-f-]{36}) ([0-9]{1,19}) ([0-9]{1,19})")
_WROTE = re.compile(
    r"(-|[0-9a-f-]{36}) ([0-9]{1,10}) ([1-9][0-9]{0,9}) ([0-9]{1,20})\n(?:([0-9]{1,3})(\n)?)?\.", re.ASCII
)


def start(
    command: Command, member: str, permit: str, stdin: bytes, nonce: str, detach: float = 0.0, limit: float = 0.0
) -> Launch:
    """How to start a write; `stdin` is sent after the preamble. `detach`: seconds after which it is ended there, 0: it is
    waited for. `limit`: seconds after which one that is waited for is ended there all the same, 0: never.

    Raises UsageError for what sh cannot carry.
    """
    _check(member, permit)
    size = str(len(stdin)) if stdin else "-"
    source = " <&7 7<&-" if stdin else " </dev/null"
    watch = "envtui_y=;" + _WATCH.replace("SECONDS", str(math.ceil(limit))) if limit else "envtui_k=;"
    tail = (_RUN.replace("WATCH", watch) + _TELL).replace("INPUT", source)
    extra: tuple[str, ...] = ()
    if detach:
        tail = _DETACH.replace("PASS", " 7<&7" if stdin else "")
        extra = (str(math.ceil(detach)), encoded(_WAITS.replace("INPUT", source).encode()))
    rest = _SET_UP.replace("HOME", _home(command.account), 1) + (_INPUT if stdin else "") + tail
    if not command.hidden and not detach and is_plain(command):
        plain = _functions(command, permit, bare).decode()
        if len(plain) <= LINE_LIMIT:
            return _launch(plain + rest, (member, permit, size), nonce, command.account)
    payload = encoded(_functions(command, permit, quoted))
    preamble = b""
    decode = f'envtui_x="{DECODED.format("$5")}";eval "$envtui_x";'
    if command.hidden or len(payload) > LINE_LIMIT:
        token = nonce[::-1]
        preamble = f"{token}{payload}\n".encode()
        payload = token
        decode = (
            "read envtui_p&&case $envtui_p in $5_*)"
            f'envtui_x="{DECODED.format("${envtui_p#$5}")}";;*)exit 98;esac;eval "$envtui_x";'
        )
    # The decoded text is needed once more for a detached command.
    rest = (
        rest if not detach else "envtui_m=$envtui_x;" + rest.replace('printf %s "$envtui_x"|', 'printf %s "$envtui_m"|')
    )
    return _launch(decode + rest, (member, permit, size, payload, *extra), nonce, command.account, preamble)


def look(member: str, permit: str, account: str, nonce: str, out: int = 0, err: int = 0, piece: int = PIECE) -> Launch:
    """How to see what became of it, with its output from byte `out` and `err` on, `piece` bytes at most of each."""
    _check(member, permit)
    words = (member, permit, str(out + 1), str(err + 1), str(piece))
    return _launch(_LOOK.replace("HOME", _home(account), 1), words, nonce, account)


def group(who: Who, permit: str, account: str, nonce: str, signal: str = "-") -> Launch:
    """How to see who is left of its process group, and to send it a signal (its name without SIG)."""
    _check("-", permit)
    words = (who.boot, str(who.group), str(who.pid), str(who.start), permit, signal)
    return _launch(_GROUP, words, nonce, account)


def marked(permit: str, account: str, nonce: str) -> Launch:
    """How to see whether any process carries the permit: a number."""
    _check("-", permit)
    return _launch(_MARKED, (permit,), nonce, account)


def forget(member: str, permit: str, account: str, nonce: str) -> Launch:
    """How to remove its directory."""
    _check(member, permit)
    return _launch(_FORGET.replace("HOME", _home(account), 1), (member, permit), nonce, account)


def listing(member: str, account: str, nonce: str) -> Launch:
    """How to see what is kept there: the host's time, then a line NAME.TIME each; TIME may be empty."""
    _check(member, "-")
    return _launch(_LIST.replace("HOME", _home(account), 1), (member, "-"), nonce, account)


def refusal(status: str, act: str, account: str, member: str, said: str) -> EnvtuiError | None:
    """What a status says that is a word: why nothing was run; None for every other status."""
    if status not in _REFUSALS:
        return None
    kind, why, remedy = _REFUSALS[status]
    reason = f" It said: {said[:200]}" if said else ""
    return kind(f"{act}: nothing was run, because {account} {why} on {member}.{reason}", remedy)


def state(seen: bytes, wrote: bytes) -> State | None:
    """What the two parts of a look's answer say; None when they are not what a wrapper writes.

    A line without its newline is not written: that of the status too.
    """
    shown = _SEEN.fullmatch(seen.decode("ascii", "replace"))
    said = _WROTE.fullmatch(wrote.decode("ascii", "replace"))
    if shown is None or (said is None and b"\n" in wrote) or len(wrote) > 100:
        return None
    exit_ = int(said[5]) if said is not None and said[6] else None
    if exit_ is not None and exit_ > 255:
        return None
    return State(
        boot=shown[2],
        leads=None if shown[1] == "-" else shown[1] == "1",
        who=Who(said[1], int(said[2]), int(said[3]), int(said[4])) if said is not None else None,
        exit=exit_,
        out=int(shown[3]),
        err=int(shown[4]),
    )


def _launch(text: str, words: tuple[str, ...], nonce: str, account: str, preamble: bytes = b"") -> Launch:
    line = " ".join(("exec", *as_account(account), "/bin/sh", "-c", f"'{text}'", "sh", nonce, *words))
    return Launch(line, preamble, nonce, account)


def _functions(command: Command, permit: str, quote: Callable[[bytes], bytes]) -> bytes:
    """`envtui_w` goes where the command runs, and `envtui_c` becomes the command."""
    folder = command.cwd if not command.cwd or command.cwd.startswith(b"/") else b"./" + command.cwd
    goes = b"CDPATH= cd " + quote(folder) if folder else b":"
    mark = b"export ENVTUI_ACT=" + permit.encode()
    return b"envtui_w(){ %s; };envtui_c(){ %s; };" % (goes, body(command, quote, mark))


def _home(account: str) -> str:
    return f"~{account}" if account else "$HOME"


def _check(member: str, permit: str) -> None:
    if (member != "-" and not _NAME.fullmatch(member)) or (permit != "-" and not _PERMIT.fullmatch(permit)):
        raise UsageError(f"{member} and {permit} cannot name a directory.", "This is an error of envtui.")
