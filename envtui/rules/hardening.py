"""What raises a target's read protection, as text for whoever owns it. Nothing of it is applied by us.

The script for a database asks the server itself for every name and lets the server quote it (`format`, `regprocedure`,
`\\gexec`), so that no name of a schema or function can become a statement. What it takes away is what `role-enforced`
means in `outside/sql/probe.py`; a test carries it out and asks the probe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from envtui.core.act import Place
from envtui.core.errors import UsageError
from envtui.core.text import clean_line

_NAME = re.compile(r"[A-Za-z0-9_.@$ -]{1,63}")

_OURS = "n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname !~ '^pg_(toast_)?temp_'"

_SQL = rf"""
\set ON_ERROR_STOP on
\set reader '@READER@'
begin;

-- One role for each engineer: a role may always end its own sessions, so a shared one lets one engineer end another's.
select format('create role %I login', :'reader') where not exists (select from pg_roles where rolname = :'reader') \gexec
alter role :"reader" nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 8;

-- Second lines of defence, and bounds for what a read may cost.
alter role :"reader" set default_transaction_read_only = on;
alter role :"reader" set statement_timeout = '60s';
alter role :"reader" set idle_in_transaction_session_timeout = '60s';

-- What it got through other roles. pg_monitor reads statistics; pg_read_all_data would read password hashes as well.
select format('revoke %I from %I', g.rolname, r.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid
  join pg_roles r on r.oid = m.member where r.rolname = :'reader' and g.rolname <> 'pg_monitor' \gexec
grant pg_monitor to :"reader";

-- Temporary tables and new schemas.
select format('revoke temporary, create on database %I from public, %I', current_database(), :'reader') \gexec
select format('grant connect on database %I to %I', current_database(), :'reader') \gexec

-- Reading every schema of this database, and nothing else. A schema that it should not read: leave its lines out.
select format(line, n.nspname, :'reader') from pg_namespace n, (values (1, 'revoke create on schema %1$I from public, %2$I'),
  (2, 'grant usage on schema %1$I to %2$I'),
  (3, 'revoke insert, update, delete, truncate, references, trigger on all tables in schema %1$I from public, %2$I'),
  (4, 'revoke usage, update on all sequences in schema %1$I from public, %2$I'),
  (5, 'grant select on all tables in schema %1$I to %2$I'), (6, 'grant select on all sequences in schema %1$I to %2$I'),
  (7, 'alter default privileges in schema %1$I grant select on tables to %2$I')) as lines (number, line)
  where {_OURS} order by n.nspname, number \gexec

-- A foreign table is read on another server, with what that server allows.
select format('revoke all on %s from public, %I', c.oid::regclass, :'reader') from pg_class c
  join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'f' and {_OURS} \gexec

-- Functions that change something or act for another role: a view, a cast or an operator calls them without their name in the
-- text. A ROLE OF YOUR APPLICATION THAT CALLS ONE NEEDS A GRANT OF ITS OWN FIRST: grant execute on function … to …;
select format('revoke execute on %s %s from public, %I', case p.prokind when 'p' then 'procedure' else 'function' end,
    p.oid::regprocedure, :'reader') from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang where {_OURS} and (p.provolatile = 'v' or p.prosecdef or not l.lanpltrusted)
    and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) \gexec
-- And those that come later. This holds for what the role that runs this creates: repeat it as each role that does.
alter default privileges revoke execute on functions from public;

commit;

-- Where only a superuser may set it, this line fails, and the rest holds.
\set ON_ERROR_STOP off
alter role :"reader" set temp_file_limit = '1GB';

-- What it owns it may change, whatever is revoked: these need another owner (no line: there is nothing).
select format('%s belongs to %s', c.oid::regclass, :'reader') as "needs another owner" from pg_class c
  join pg_roles r on r.oid = c.relowner where r.rolname = :'reader';
\echo 'Its password: \\password' :reader '(psql sends no plain text). Then: envtui doctor.'
"""  # noqa: S608 - made of constants of ours

_SSH = """
-> account-enforced: Unix permissions hold what the read account sends.
   - an account of its own for reads ({user}), not root, in none of: docker, lxd, incus, libvirt, disk, kmem, sudo, wheel
   - no line for it in sudoers (but the gate's, below)
   - in its authorized_keys: restrict ssh-ed25519 AAAA…

-> kernel-enforced: the kernel holds each read, in a sandbox that envtui asks for.
   - Linux 6.2 or later with Landlock: `cat /sys/kernel/security/lsm` names it (else: lsm=landlock,… on the kernel's command line)
   - python3, 3.6 or later, on the account's PATH; /proc mounted
   - in environment.yaml: protection: {{ssh: kernel-enforced}}, or min_protection on the target

-> gate-enforced: the server refuses everything else for this key.
   - envtui harden --gate >envtui-gate; read it; install -o root -g root -m 755 envtui-gate /usr/local/libexec/envtui-gate
   - in authorized_keys of {user}: restrict,command="/usr/local/libexec/envtui-gate" ssh-ed25519 AAAA…
     (after the path: n for network, s for sockets, ns for both)

For steps that say `needs: [root]`, or `as:` another account, a line in sudoers for each (visudo):
   {user} ALL=(root) NOPASSWD: /usr/local/libexec/envtui-gate --read r *
"""

_HTTP = """
A GET may still have effects: only whoever owns the service knows. Reads send GET and HEAD alone and follow no redirect to another
host. What raises it: a credential for reads that the service itself limits to reading, and a path that answers no other method.
"""


def advice(environment: str, place: Place, level: str, lacks: Sequence[str], operator: str) -> str:
    """For the owner of one target. `level` '' : it could not be reached, and this is the general form.

    Raises UsageError for a role's name that psql could read as something else.
    """
    mark = "--" if place.kind == "sql" else "#"
    said = [f"envtui harden {environment}/{place.target}: for its owner. Nothing was applied; read it before you do."]
    said.append(
        f"Found: {level}." if level else "It could not be reached: this is the general form, not what it lacks."
    )
    said = [clean_line(line, 300) for line in said]
    said += [f"Lacks {clean_line(lack, 300)}" for lack in lacks]
    head = "".join(f"{mark} {line}\n" for line in said)
    if place.kind == "sql":
        return head + _SQL.replace("@READER@", _reader(place.user, level, operator))
    return head + (_SSH.format(user=clean_line(place.user, 80)) if place.kind == "ssh" else _HTTP)


def _reader(user: str, level: str, operator: str) -> str:
    """The role that is to read: the present one where it only has side channels, else one of the engineer's own."""
    name = user if level.startswith("role-enforced") else "envtui_read_" + re.sub(r"[^a-z0-9]+", "_", operator.lower())
    if not _NAME.fullmatch(name):
        raise UsageError(f"{clean_line(name, 80)} is no plain name of a role.", "Write the script by hand for it.")
    return name
