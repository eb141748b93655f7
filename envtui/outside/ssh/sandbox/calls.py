"""System calls by number, `name:x86-64:aarch64`, `-` where there is none. From the kernel's own headers (linux 6.1).

FREE are let through as they are: they read, wait, or concern nobody but the process and its own children. Those whose
arguments decide are in `filter`. DENIED answer EPERM, because a person should read "not permitted" of them; every other
call, one that a later kernel brings included, answers ENOSYS, as if the kernel did not have it, and programs go another way.
"""

from __future__ import annotations

from collections.abc import Mapping

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""What `uname -m` says -> AUDIT_ARCH of the kernel."""

Numbers = Mapping[str, int]


def _table(text: str) -> dict[str, Numbers]:
    found: dict[str, dict[str, int]] = {machine: {} for machine in MACHINES}
    for entry in text.split():
        name, *numbers = entry.split(":")
        for machine, number in zip(MACHINES, numbers, strict=True):
            if number != "-":
                found[machine][name] = int(number)
    return dict(found)


FREE = _table(
    """
access:21:- alarm:37:- arch_prctl:158:- brk:12:214 capget:125:90 capset:126:91 chdir:80:49 clock_getres:229:114
clock_gettime:228:113 clock_nanosleep:230:115 close:3:57 close_range:436:436 dup2:33:- dup3:292:24 dup:32:23
epoll_create1:291:20 epoll_create:213:- epoll_ctl:233:21 epoll_pwait2:441:441 epoll_pwait:281:22 epoll_wait:232:-
eventfd2:290:19 eventfd:284:- execve:59:221 execveat:322:281 exit:60:93 exit_group:231:94 faccessat2:439:439
faccessat:269:48 fchdir:81:50 fgetxattr:193:10 flistxattr:196:13 fork:57:- fstat:5:80 fstatfs:138:44 futex_waitv:449:449
get_robust_list:274:100 getcpu:309:168 getcwd:79:17 getdents64:217:61 getdents:78:- getegid:108:177 geteuid:107:175
getgid:104:176 getgroups:115:158 getitimer:36:102 getpgid:121:155 getpgrp:111:- getpid:39:172 getppid:110:173
getpriority:140:141 getrandom:318:278 getresgid:120:150 getresuid:118:148 getrlimit:97:163 getrusage:98:165 getsid:124:156
gettid:186:178 gettimeofday:96:169 getuid:102:174 getxattr:191:8 ioprio_get:252:31 lgetxattr:192:9 listxattr:194:11
llistxattr:195:12 lseek:8:62 lstat:6:- madvise:28:233 membarrier:324:283 mincore:27:232 mlock:149:228 mmap:9:222
mprotect:10:226 mremap:25:216 msync:26:227 munlock:150:229 munmap:11:215 name_to_handle_at:303:264 nanosleep:35:101
newfstatat:262:79 pause:34:- pipe2:293:59 pipe:22:- poll:7:- ppoll:271:73 pread64:17:67 preadv2:327:286 preadv:295:69
pselect6:270:72 pwrite64:18:68 pwritev2:328:287 pwritev:296:70 read:0:63 readlink:89:- readlinkat:267:78 readv:19:65
restart_syscall:219:128 rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135 rt_sigreturn:15:139
rt_sigsuspend:130:133 rt_sigtimedwait:128:137 sched_get_priority_max:146:125 sched_get_priority_min:147:126
sched_getaffinity:204:123 sched_getattr:315:275 sched_getparam:143:121 sched_getscheduler:145:120
sched_rr_get_interval:148:127 sched_yield:24:124 select:23:- sendfile:40:71 set_robust_list:273:99 set_tid_address:218:96
setfsgid:123:152 setfsuid:122:151 setgid:106:144 setitimer:38:103 setpgid:109:154 setregid:114:143 setresgid:119:149
setresuid:117:147 setreuid:113:145 setsid:112:157 setuid:105:146 sigaltstack:131:132 signalfd4:289:74 signalfd:282:-
stat:4:- statfs:137:43 statx:332:291 sysfs:139:- sysinfo:99:179 time:201:- timer_create:222:107 timer_delete:226:111
timer_getoverrun:225:109 timer_gettime:224:108 timer_settime:223:110 timerfd_create:283:85 timerfd_gettime:287:87
timerfd_settime:286:86 times:100:153 umask:95:166 uname:63:160 ustat:136:- vfork:58:- wait4:61:260 waitid:247:95
write:1:64 writev:20:66
"""
)

WEIGHED = _table(
    """
bind:49:200 clone:56:220 connect:42:203 fadvise64:221:223 fcntl:72:25 flock:73:32 futex:202:98 getpeername:52:205
getsockname:51:204 getsockopt:55:209 ioctl:16:29 ioprio_set:251:30 kill:62:129 open:2:- openat:257:56 personality:135:92
prctl:157:167 prlimit64:302:261 recvfrom:45:207 recvmmsg:299:243 recvmsg:47:212 sched_setaffinity:203:122
setpriority:141:140 sendmmsg:307:269 sendmsg:46:211 sendto:44:206 setrlimit:160:164 setsockopt:54:208 shutdown:48:210
socket:41:198 socketpair:53:199 syslog:103:116 tgkill:234:131 tkill:200:130
"""
)

DENIED = _table(
    """
acct:163:89 add_key:248:217 adjtimex:159:171 bpf:321:280 chmod:90:- chown:92:- chroot:161:51 clock_adjtime:305:266
clock_settime:227:112 creat:85:- fallocate:285:47 fchmod:91:52 fchmodat:268:53 fchown:93:55 fchownat:260:54
fdatasync:75:83 fremovexattr:199:16 fsetxattr:190:7 fsync:74:82 ftruncate:77:46 futimesat:261:- kcmp:312:272
keyctl:250:219 lchown:94:- link:86:- linkat:265:37 lremovexattr:198:15 lsetxattr:189:6 mkdir:83:- mkdirat:258:34
mknod:133:- mknodat:259:33 mount:165:40 mq_getsetattr:245:185 mq_notify:244:184 mq_open:240:180 mq_timedreceive:243:183
mq_timedsend:242:182 mq_unlink:241:181 msgctl:71:187 msgget:68:186 msgrcv:70:188 msgsnd:69:189 perf_event_open:298:241
pivot_root:155:41 process_vm_readv:310:270 process_vm_writev:311:271 ptrace:101:117 quotactl:179:60 reboot:169:142
removexattr:197:14 rename:82:- renameat2:316:276 renameat:264:38 request_key:249:218 rmdir:84:- rt_sigqueueinfo:129:138
rt_tgsigqueueinfo:297:240 sched_setattr:314:274 sched_setparam:142:118 sched_setscheduler:144:119 semctl:66:191
semget:64:190 semop:65:193 semtimedop:220:192 setdomainname:171:162 setgroups:116:159 sethostname:170:161 setns:308:268
settimeofday:164:170 setxattr:188:5 shmat:30:196 shmctl:31:195 shmdt:67:197 shmget:29:194 swapoff:168:225 swapon:167:224
symlink:88:- symlinkat:266:36 sync:162:81 sync_file_range:277:84 syncfs:306:267 truncate:76:45 umount2:166:39 unlink:87:-
unlinkat:263:35 unshare:272:97 utime:132:- utimensat:280:88 utimes:235:- vhangup:153:58
"""
)
