"""The lab as a whole: real servers come up, break, heal, keep their borders, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import psycopg
import pytest

from envtui.core.errors import Failed, UsageError
from envtui.lab import cli, keeper
from envtui.lab.layout import Lab, locked
from envtui.lab.world import PEOPLE, WORLDS

pytestmark = pytest.mark.servers

PRODUCTION = WORLDS[2]


def envtui(lab: Lab, *words: str, given: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "ENVTUI_LAB": str(lab.home)}
    argv = [sys.executable, "-m", "envtui", *words]
    return subprocess.run(argv, env=variables, input=given, capture_output=True, text=True, timeout=seconds)


def long_run(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """Healing takes as long as the gateway's window."""
    return envtui(lab, *words, seconds=240)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="envtui-test-") as folder:
        lab = Lab(Path(folder) / "lab")
        daemon = cli.start(lab)
        yield lab
        cli.tell(lab, "down")
        daemon.wait(20)
        assert not lab.home.exists()


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab" in request.fixturenames:
        cli.tell(request.getfixturevalue("lab"), "reset")


def secret(lab: Lab, name: str, person: str = "asha") -> str:
    return (lab.person(person) / ".envtui" / name).read_text().strip()


def port_of(lab: Lab, environment: str, host: str) -> int:
    pairs = dict(pair.split(":", 1) for pair in cli.tell(lab, "status")[environment]["ssh"].split())
    return int(pairs[host])


async def ssh(
    lab: Lab, environment: str, host: str, account: str, key: str, command: str, person: str = "asha"
) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr of one command, over the server's own host key."""
    key_file = lab.person(person) / ".ssh" / key
    async with asyncssh.connect(
        "127.0.0.1",
        port_of(lab, environment, host),
        username=account,
        client_keys=[str(key_file)],
        known_hosts=str(lab.runbooks / environment / "known_hosts"),
        agent_path=None,
        config=[],
    ) as connection:
        done = await connection.run(command)
        return done.exit_status, str(done.stdout), str(done.stderr)


def http(lab: Lab, environment: str, path: str, token: str = "") -> tuple[int, str]:
    port = cli.tell(lab, "status")[environment]["http"].split()[0]
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": token})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def database(lab: Lab, environment: str, user: str = "asha", file: str = "") -> psycopg.Connection[tuple[object, ...]]:
    world = next(world for world in WORLDS if world.name == environment)
    port = cli.tell(lab, "status")[environment]["postgresql"]
    return psycopg.connect(
        host="127.0.0.1", port=port, dbname="gateway", user=user, password=secret(lab, file or world.sql_read_file)
    )


def refused(lab: Lab, environment: str) -> int:
    with database(lab, environment) as connection:
        row = connection.execute("select count(*) from access_log where status = 403").fetchone()
        assert row is not None
        return int(str(row[0]))


def state(lab: Lab, environment: str) -> str:
    return cli.tell(lab, "status")[environment]["state"]


def test_it_comes_up_healthy_with_six_hosts_and_private_files(lab: Lab) -> None:
    assert [state(lab, world.name) for world in WORLDS] == ["healthy"] * 3
    assert sum(len(facts["ssh"].split()) for facts in cli.tell(lab, "status").values()) == 6
    assert lab.home.stat().st_mode & 0o777 == 0o700
    for person in PEOPLE:
        home = lab.person(person)
        assert home.stat().st_mode & 0o777 == 0o700
        assert all(file.stat().st_mode & 0o077 == 0 for file in home.rglob("*") if file.is_file())
    for world in WORLDS:
        assert refused(lab, world.name) == 0
        assert http(lab, world.name, "/identity") == (200, f"{world.name}\n")


def test_break_jwt_refuses_every_call_in_all_three(lab: Lab) -> None:
    cli.tell(lab, "break jwt")
    for world in WORLDS:
        eventually(lambda: state(lab, world.name) == "unhealthy")  # noqa: B023 - called before the next turn
        eventually(lambda: refused(lab, world.name) > 0)  # noqa: B023
        assert http(lab, world.name, "/health")[0] == 503
    cli.tell(lab, "reset")
    for world in WORLDS:
        assert refused(lab, world.name) == 0
        eventually(lambda: state(lab, world.name) == "healthy")  # noqa: B023


async def test_a_revert_with_gatewayctl_heals_and_a_restore_breaks_again(lab: Lab) -> None:
    cli.tell(lab, "break jwt")

    async def write(command: str) -> tuple[int | None, str, str]:
        return await ssh(lab, "production", "gw1", "oncall-rw", "production-write", f"gatewayctl policy {command}")

    assert (await write("current"))[1] == "latest 42\n"
    code, changed, _ = await write("diff --previous")
    assert code == 1
    assert '+  <require-claim name="tenant"/>' in changed
    assert (await write("revert --keep-as RUN1"))[:2] == (0, "reverted to version 41; version 42 kept as RUN1\n")
    assert (await write("current"))[1] == "previous 41\n"
    assert (await write("revert --keep-as RUN1"))[:2] == (0, "already reverted as RUN1: previous 41\n")
    assert (await write("current"))[1] == "previous 41\n"
    await ssh(
        lab, "production", "gw2", "oncall-rw", "production-write", "gatewayctl policy revert --keep-as RUN1", "meera"
    )
    await asyncio.to_thread(eventually, lambda: state(lab, "production") == "healthy", 60)
    code, said, _ = await ssh(lab, "production", "gw1", "oncall-ro", "production-read", "gatewayctl status --check")
    assert (code, "state healthy" in said) == (0, True)
    await asyncio.to_thread(eventually, lambda: state(lab, "dev") == "unhealthy")
    assert (await write("restore RUN1"))[:2] == (0, "restored version 42\n")
    assert (await write("current"))[1] == "latest 42\n"


async def test_the_read_account_may_not_change_the_policy(lab: Lab) -> None:
    for command in ("revert --keep-as X", "apply -", "restore X"):
        code, out, said = await ssh(
            lab, "production", "gw1", "oncall-ro", "production-read", f"gatewayctl policy {command} </dev/null"
        )
        assert (code, out) == (77, "")
        assert "permission denied: oncall-ro" in said
    assert state(lab, "production") == "healthy"


@pytest.mark.skipif(os.geteuid() != 0, reason="LOUD: two accounts with two user ids need root")
async def test_as_root_the_kernel_keeps_the_read_account_from_the_policy(lab: Lab) -> None:
    code, _, said = await ssh(
        lab, "production", "gw1", "oncall-ro", "production-read", 'id -u; echo 1 > "$ENVTUI_LAB_GATEWAY/current"'
    )
    assert code != 0
    assert "ermission denied" in said


@pytest.mark.parametrize(
    ("key", "account"),
    [
        ("production-read", "oncall-rw"),  # the read certificate is for the read account
        ("staging-write", "oncall-rw"),  # another environment's CA
        ("dev-read", "oncall-ro"),
        ("production-write", "root"),
    ],
)
async def test_a_key_opens_its_own_account_of_its_own_environment(lab: Lab, key: str, account: str) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await ssh(lab, "production", "gw1", account, key, "true")


async def test_the_database_host_is_only_there_behind_the_bastion(lab: Lab) -> None:
    assert cli.tell(lab, "status")["production"]["ssh"].endswith("db1:via-bastion")
    options = {
        "username": "oncall-ro",
        "client_keys": [str(lab.person("asha") / ".ssh" / "production-read")],
        "known_hosts": str(lab.runbooks / "production" / "known_hosts"),
        "agent_path": None,
        "config": [],
    }
    async with asyncssh.connect("127.0.0.1", port_of(lab, "production", "bastion"), **options) as bastion:
        async with bastion.connect_ssh("db1.production.internal", 22, **options) as inner:
            assert str((await inner.run("hostname")).stdout) == "db1.production.internal\n"
        listener = await bastion.forward_local_port("127.0.0.1", 0, "db1.production.internal", 5432)
        connection = await psycopg.AsyncConnection.connect(
            host="127.0.0.1",
            port=listener.get_port(),
            dbname="gateway",
            user="asha",
            password=secret(lab, "production-sql"),
        )
        async with connection:
            row = await (await connection.execute("select environment from envtui_identity")).fetchone()
            assert row == ("production",)
        with pytest.raises(asyncssh.ChannelOpenError):
            await bastion.connect_ssh("gw1.production.internal", 22, **options)
    async with asyncssh.connect("127.0.0.1", port_of(lab, "production", "gw1"), **options) as gateway:
        with pytest.raises(asyncssh.ChannelOpenError):
            await gateway.connect_ssh("db1.production.internal", 22, **options)


def test_engineers_read_and_only_the_write_role_writes(lab: Lab) -> None:
    for person in PEOPLE:
        connection = psycopg.connect(
            host="127.0.0.1",
            port=cli.tell(lab, "status")["production"]["postgresql"],
            dbname="gateway",
            user=person,
            password=secret(lab, "production-sql", person),
        )
        with connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("update orders set state = 'paid' where id = 9")
        connection.close()
    with database(lab, "production", "oncall_writer", "production-sql-write") as writer:
        assert writer.execute("update orders set state = 'paid' where id = 9").rowcount == 1
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(
            host="127.0.0.1",
            port=cli.tell(lab, "status")["staging"]["postgresql"],
            dbname="gateway",
            user="asha",
            password=secret(lab, "production-sql"),
        )


def test_in_production_sessions_really_wait_for_one_another(lab: Lab) -> None:
    tree = """
        select a.application_name, array(select b.application_name from pg_stat_activity b
                                         where b.pid = any (pg_blocking_pids(a.pid)) order by 1)
        from pg_stat_activity a where a.wait_event_type = 'Lock' order by 1"""

    def waiting() -> list[tuple[object, ...]]:
        with database(lab, "production") as connection:
            return connection.execute(tree).fetchall()

    eventually(lambda: len(waiting()) == 3)
    found = {str(name): blockers for name, blockers in waiting()}
    assert found["checkout-1"] == ["nightly-billing"]
    assert found["checkout-2"] == ["checkout-1"]
    assert found["checkout-3"] == ["checkout-1"]


def test_settling_ends_the_line_and_a_reset_forms_it_again(lab: Lab) -> None:
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = 'gateway'"

    def in_line() -> int:
        with database(lab, "production") as connection:
            row = connection.execute(waiting).fetchone()
            assert row is not None
            return int(str(row[0]))

    cli.tell(lab, "settle")
    eventually(lambda: in_line() == 0)
    cli.tell(lab, "reset")
    assert in_line() == 3


async def test_backups_and_their_programs_are_on_the_host_and_the_password_is_the_write_accounts(lab: Lab) -> None:
    async def on_gw1(account: str, key: str, does: str) -> tuple[int | None, str, str]:
        return await ssh(lab, "staging", "gw1", account, key, does)

    code, listed, said = await on_gw1("stage-ro", "staging-read", "pg_restore --list backups/gateway-*Z.dump")
    assert code == 0, said
    assert "TABLE DATA public orders stage_deployer" in listed
    asks = "psql --no-psqlrc -At --no-password 'service=gateway dbname=gateway' -c 'select current_user'"
    assert (await on_gw1("stage-rw", "staging-write", asks))[:2] == (0, "stage_deployer\n")
    assert (await on_gw1("stage-ro", "staging-read", asks))[0] != 0


async def test_a_command_lives_on_when_its_client_vanishes(lab: Lab) -> None:
    connection = await asyncssh.connect(
        "127.0.0.1",
        port_of(lab, "dev", "gw1"),
        username="dev-ro",
        client_keys=[str(lab.person("asha") / ".ssh" / "dev-read")],
        known_hosts=str(lab.runbooks / "dev" / "known_hosts"),
        agent_path=None,
        config=[],
    )
    process = await connection.create_process("echo started; read line; sleep 1; echo done > ~/outlived; sleep 600")
    await process.stdout.readline()
    connection.abort()
    workspace = Path(lab.facts().workspace)
    outlived = workspace / "hosts" / "dev" / "gw1" / "home" / "dev-ro" / "outlived"
    await asyncio.to_thread(eventually, outlived.exists)


def test_personas_are_other_people_with_the_same_trees(lab: Lab) -> None:
    for person in PEOPLE:
        said = envtui(lab, "lab", "as", person, "--version")
        assert (said.returncode, said.stdout.split()[0]) == (0, "envtui")
    configs = {(lab.person(person) / "config.toml").read_text() for person in PEOPLE}
    keys = {(lab.person(person) / ".ssh" / "id_ed25519.pub").read_text().split()[1] for person in PEOPLE}
    assert (len(configs), len(keys)) == (len(PEOPLE), len(PEOPLE))
    for world in WORLDS:
        signers = (lab.runbooks / world.name / "access" / "allowed_signers").read_text()
        assert all(key in signers for key in keys)


def test_wrong_calls_say_what_to_do(lab: Lab) -> None:
    for words, code in ((("lab", "break", "dns"), 2), (("lab", "as", "mallory"), 2), (("lab", "dance"), 2)):
        assert envtui(lab, *words).returncode == code
    again = envtui(lab, "lab", "up")
    assert (again.returncode, again.stderr) == (0, "The lab is up already.\n")
    no_terminal = envtui(lab, "lab")
    assert no_terminal.returncode == 2
    assert "terminal" in no_terminal.stderr


def test_without_a_lab_every_action_says_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    with pytest.raises(Failed, match="not up"):
        cli.tell(lab, "status")
    assert envtui(lab, "lab", "down").returncode == 0


def test_a_home_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("everything")
    with pytest.raises(UsageError, match="not a lab's"):
        cli.start(Lab(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def ended(pid: int) -> bool:
    """Gone, or waiting only for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    queue = [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            children = {int(word) for word in task.read_text().split()}
            found |= children
            queue += children
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="LOUD: the kernel's parent-death signal is Linux's")
async def test_kill_9_leaves_no_process_and_the_next_lab_sweeps_up(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    daemon = await asyncio.to_thread(cli.start, lab)
    facts = lab.facts()
    workspace = Path(facts.workspace)
    running = asyncio.create_task(
        ssh(
            lab,
            "dev",
            "gw1",
            "dev-ro",
            "dev-read",
            "sleep 7001 & setsid sleep 7002 & touch ~/begun; sleep 7003",
        )
    )
    await asyncio.to_thread(eventually, (workspace / "hosts/dev/gw1/home/dev-ro/begun").exists)
    started = descendants(facts.pid)
    carriers = [pid for pid in started if b"ENVTUI_LAB_TOKEN=" in Path(f"/proc/{pid}/environ").read_bytes()]
    token = Path(f"/proc/{carriers[0]}/environ").read_bytes().partition(b"ENVTUI_LAB_TOKEN=")[2].partition(b"\0")[0]
    os.kill(facts.pid, signal.SIGKILL)
    daemon.wait(10)
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(eventually, lambda: all(ended(pid) for pid in started))
    await asyncio.to_thread(eventually, lambda: not keeper.carriers(token.decode()))
    assert lab.alive() is None
    assert workspace.exists()
    second = await asyncio.to_thread(cli.start, lab)
    assert not workspace.exists()
    cli.tell(lab, "down")
    second.wait(20)
    assert not locked(lab.home / "lock")


def test_it_goes_down_with_the_terminal_that_started_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    daemon = cli.start(lab, while_open=True)
    workspace = Path(lab.facts().workspace)
    assert daemon.stdin is not None
    daemon.stdin.close()
    assert daemon.wait(20) == 0
    assert not workspace.exists()
    assert not lab.home.exists()


@pytest.mark.skipif(
    os.geteuid() != 0, reason="LOUD: dropping to an ordinary user needs root; without it, all tests are one"
)
def test_it_is_up_as_an_ordinary_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="envtui-test-") as folder:
        home = Path(folder)
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        variables = {"PATH": os.environ["PATH"], "HOME": folder, "ENVTUI_LAB": f"{folder}/lab", "LC_ALL": "C.UTF-8"}
        if "PYTHONPATH" in os.environ:
            variables["PYTHONPATH"] = os.environ["PYTHONPATH"]

        # The capability to read what root may read: an interpreter below root's home is closed to an ordinary user.
        reading = "-all,+dac_read_search"
        dropped = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        dropped += [f"--inh-caps={reading}", f"--ambient-caps={reading}"]

        def drop(*words: str) -> subprocess.CompletedProcess[str]:
            argv = [*dropped, sys.executable, "-P", "-m", "envtui", "lab", *words]
            return subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, timeout=90)

        up = drop("up")
        assert (up.returncode, "The lab is up" in up.stderr) == (0, True), up.stderr
        assert drop("break", "jwt").returncode == 0
        status = drop("status")
        assert status.stdout.count("policy     gw1 42") == 3
        listed = drop("ask", "production", "dbhost", "--", "sh", "-c", "pg_restore --list backups/*.dump")
        assert "TABLE DATA public orders" in listed.stdout, listed.stderr
        assert drop("down").returncode == 0
        assert not (home / "lab").exists()


def test_the_outage_without_a_screen_from_403_to_healed(lab: Lab) -> None:
    book = ("production", "gateway-policy-revert")
    answers = ("--answer", "cause=diff", "--answer", "tell.channel=#status", "--answer", "tell=done")
    cli.tell(lab, "break jwt")
    eventually(lambda: state(lab, "production") == "unhealthy")
    before = long_run(lab, "lab", "run", *book, "--plain", *answers)
    assert before.returncode == 3, before.stderr
    assert 'require-claim name="tenant"' in before.stdout
    assert envtui(lab, "lab", "incident", "open", "production", "--title", "403 for everyone").returncode == 0
    words = ("--incident", "INC-1001", "--reason", "revert the policy of this morning")
    request = envtui(lab, "lab", "request", *book, *words)
    assert request.returncode == 0, request.stderr
    own = envtui(lab, "lab", "as", "asha", "sign", "production", "--yes", given=request.stdout)
    assert own.returncode != 0
    signed = envtui(lab, "lab", "as", "meera", "sign", "production", "--yes", given=request.stdout)
    assert signed.returncode == 0, signed.stderr
    grant = lab.home / "grant"
    grant.write_text(request.stdout + signed.stdout)
    after = long_run(lab, "lab", "run", *book, "--plain", "--grant", str(grant), *answers)
    grant.unlink()
    assert after.returncode == 0, after.stdout + after.stderr
    assert "signed by meera" in after.stdout
    assert state(lab, "production") == "healthy"
    assert state(lab, "dev") == "unhealthy"
    assert envtui(lab, "lab", "ledger", "verify", "production").returncode == 0
