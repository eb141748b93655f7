"""What is well-formed and still wrong, one by one: a sound tree, one change, one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from tree_kit import edit, grow, put, said

WRITE = """\
  - id: change
    kind: ssh
    mode: write
    argv: [setctl, on]
    probe: {argv: [getctl], applied: {stdout_matches: "^on"}, absent: otherwise}
    undo: {argv: [setctl, off]}
"""


LATE = (
    WRITE.replace("[setctl, on]", '[setctl, "${vars.pick.id}"]')
    + "    late: [{name: pick.id, type: int, pattern: '[0-9]+'}]\n"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return grow(tmp_path, "dev") / "dev"


def add(tree: Path, steps: str) -> None:
    with (tree / "books/look.yaml").open("a") as stream:
        stream.write(steps)


def only(tree: Path) -> str:
    found = said(tree.parent)
    assert len(found) == 1, found
    return found[0].replace("dev/books/look.yaml", "book").replace("dev/environment.yaml", "manifest")


STEPS = [
    ("  - {id: x, kind: ssh, target: nowhere, argv: [ls]}\n", "there is no target 'nowhere'. Known: web, db."),
    ("  - {id: x, kind: sql, query: select 1}\n", "web is a target of kind ssh, and this is sql."),
    ("  - {id: x, kind: ssh}\n", "exactly one of argv and sh"),
    ("  - {id: x, kind: ssh, argv: [ls], sh: ls}\n", "exactly one of argv and sh"),
    ("  - {id: x, kind: sql, target: db}\n", "exactly one of query and file"),
    ("  - {id: x, kind: sql, target: db, file: x.sql}\n", "there is no file 'x.sql' below sql/ or files/"),
    ("  - {id: x, kind: ssh, argv: [cat], stdin: {file: files/x}}\n", "there is no file 'files/x'"),
    ("  - {id: x, kind: ssh, argv: [cat], stdin: {text: a, capture: pick}}\n", "exactly one of text, file and capture"),
    ("  - {id: x, kind: ssh, argv: 'ls \"x'}\n", "the command cannot be split"),
    ("  - {id: x, kind: ssh, argv: [\"${params.unit}\", x]}\n", "the program is a value."),
    ("  - {id: x, kind: ssh, argv: [echo, \"a\\0b\"]}\n", "a NUL character"),
    ("  - {id: x, kind: ssh, sh: 'echo ${params.unit}'}\n", "${…} cannot stand in sh."),
    ("  - {id: x, kind: ssh, argv: [ls], args: [a]}\n", "args belong to sh"),
    ("  - {id: x, kind: ssh, argv: [ls], env: {A-B: c}}\n", "'A-B' is no name of a variable."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${params.unot}\"]}\n", "there is no ${params.unot}."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${vars.pikc.id}\"]}\n", "no step captures ${vars.pikc.id}."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${vars.pick.nope}\"]}\n", "no step captures ${vars.pick.nope}."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${HOME}\"]}\n", "'${HOME}' names nothing."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${each.id}\"]}\n", "there is no ${each.id}."),
    ("  - {id: x, kind: ssh, argv: [ls, \"${params.token}\"]}\n", "the secret ${params.token} would be seen here."),
    ("  - {id: x, kind: manual, instructions: \"type ${params.token}\"}\n", "the secret ${params.token} would be seen"),
    ("  - {id: x, kind: ssh, argv: [ls], if: \"${vars.nope} == 1\"}\n", "no step captures ${vars.nope}."),
    ("  - {id: x, kind: ssh, argv: [ls], if: whenever}\n", "is no condition"),
    ("  - {id: x, kind: ssh, argv: [ls], next: nowhere}\n", "there is no step 'nowhere'."),
    ("  - {id: x, kind: ssh, argv: [ls], on_failure: goto:nowhere}\n", "there is no step 'nowhere'."),
    ("  - {id: x, kind: choose, options: {a: nowhere}}\n", "there is no step 'nowhere'."),
    ("  - {id: first, kind: ssh, argv: [ls]}\n", "the id 'first' is taken."),
    ("  - {id: x, kind: wait}\n", "a wait is for or until."),
    ("  - {id: x, kind: wait, for: 5s, mode: write}\n", "a step of kind wait changes nothing."),
    ("  - {id: x, kind: choose, options: {a: end}, poll: {for: 1m}}\n", "poll does not belong to a step of kind choose."),
    ("  - {id: x, kind: manual, instructions: y, see: other}\n", "there is no book 'other'."),
    ("  - {id: x, kind: ssh, argv: [ls], expect: {stdout_matches: '('}}\n", "stdout_matches: "),
    ("  - {id: x, kind: ssh, argv: [ls], expect: {stdout_matches: '(a)\\1'}}\n", "stdout_matches: "),
    ("  - {id: x, kind: ssh, argv: [ls], capture: {v: {from: rows}}}\n", "a step of kind ssh has no rows."),
    ("  - {id: x, kind: ssh, argv: [ls], capture: {v: {from: stdout, regex: '['}}}\n", "regex: "),
    ("  - {id: x, kind: ssh, argv: [ls], undo: {argv: [x]}}\n", "undo belongs to a write."),
    ("  - {id: x, kind: ssh, argv: [ls], attempts: 2}\n", "attempts belong to a write"),
    ("  - {id: x, kind: ssh, argv: [ls], timeout: 0s}\n", "a timeout of nothing."),
    ("  - {id: x, kind: ssh, argv: [ls], poll: {every: 1m, for: 5s}}\n", "it ends before the second look."),
    ("  - {id: x, kind: sql, target: db, query: q, expect: {rows_min: 3, rows_max: 1}}\n", "rows_min is more than"),
    (WRITE.replace("    probe:", "    doc: x #"), "the write change has no probe."),
    (WRITE.replace("    undo:", "    doc: x #"), "the write change has no undo."),
    (WRITE + "    point_of_no_return: gone\n", "there is an undo."),
    (WRITE.replace(", absent: otherwise", ""), "a probe says how it looks when applied and when absent."),
    (WRITE.replace("^on", "("), "stdout_matches: "),
    (WRITE.replace("applied: {stdout_matches: \"^on\"}", "applied: {rows: 1}"), "rows does not belong to kind ssh."),
    (WRITE.replace("[setctl, off]", "[setctl, off], query: x"), "undo needs exactly one thing to do."),
    (WRITE.replace("[setctl, on]", "[setctl, \"${vars.pick.id}\"]"), "a write uses the captured ${vars.pick.id}"),
    (WRITE.replace("[setctl, off]", "[setctl, \"${vars.pick.id}\"]"), "a write uses the captured ${vars.pick.id}"),
    (LATE.replace(", type: int", ""), "pick.id is captured as int."),
    (LATE.replace("type: int", "type: secret"), "a slot is no secret"),
    (WRITE + "    late: [{name: pick.id, type: int, pattern: '[0-9]+'}]\n", "no place of this write uses ${vars.pick.id}."),
    (LATE.replace("}]", "}, {name: pick.id, type: int, pattern: '[0-9]+'}]"), "the slot pick.id is declared twice."),
    (LATE.replace("[0-9]+", "("), "pattern: "),
    (LATE.replace("pick.id", "nope.id").replace(", type: int", ""), "no step captures ${vars.nope.id}."),
    (LATE.replace("mode: write", "mode: read").replace("    undo: {argv: [setctl, off]}\n", "").replace("    probe:", "    doc: x #"),
     "late belongs to a write."),
    (WRITE.replace('"^on"', '"^${vars.nope}"'), "no step captures ${vars.nope}."),
    (WRITE.replace('"^on"', '"${params.token}"'), "the secret ${params.token} would be seen here."),
    (WRITE.replace("[getctl]", "[getctl, \"${vars.job}\"]") + "    capture: {job: {from: stdout}}\n",
     "${vars.job} is captured later."),
    ("  - {id: x, kind: ssh, argv: [ls], expect: {json: {/a: \"${vars.nope}\"}}}\n", "no step captures ${vars.nope}."),
    ("  - {id: x, kind: sql, target: db, query: q, expect: {value: \"> ${vars.nope}\"}}\n", "no step captures ${vars.nope}."),
    ("  - {id: x, kind: wait, until: {argv: [ls], expect: {stdout_matches: \"${vars.x}\"}}}\n", "no step captures ${vars.x}."),
    (WRITE + "    poll: {for: 1m}\n", "a write is not polled."),
    (WRITE + "    target: db\n", "db is a target of kind sql"),
    (WRITE + "  - {id: again, kind: choose, options: {more: change, less: end}}\n", "the write change can be reached twice."),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "expected", "warned"), [
    (LATE.replace("pick.id}", "pick.at}").replace("name: pick.id, type: int, pattern: '[0-9]+'", "name: pick.at, pattern: '.*'"),
     ".* matches anything.", True),
    (LATE.replace("pick.id}", "pick.at}").replace("name: pick.id, type: int, pattern: '[0-9]+'", "name: pick.at, pattern: '[0-9: -]+'"),
     "matches anything.", False),
    ("  - {id: ask, kind: choose, options: {a: wr, b: must}}\n  - {id: must, kind: ssh, argv: [ls], required: true}\n"
     "  - {id: wr, kind: ssh, mode: write, argv: [x], repeatable: true, point_of_no_return: so}\n",
     "a way leads past must to the write wr", True),
    ("  - {id: must, kind: ssh, argv: [ls], required: true}\n"
     "  - {id: wr, kind: ssh, mode: write, argv: [x], repeatable: true, point_of_no_return: so}\n",
     "a way leads past", False),
])  # fmt: skip
def test_what_is_odd(tree: Path, steps: str, expected: str, warned: bool) -> None:
    add(tree, steps)
    assert any(expected in each and each.startswith("warning") for each in said(tree.parent)) == warned, said(
        tree.parent
    )


@pytest.mark.parametrize(("steps", "expected"), STEPS, ids=[expected for _, expected in STEPS])
def test_one_wrong_step(tree: Path, steps: str, expected: str) -> None:
    add(tree, steps)
    found = said(tree.parent)
    assert any(expected in each for each in found), found
    assert len([each for each in found if not each.startswith("warning")]) == 1, found
    file, line, *_ = next(each for each in found if expected in each).split(":")
    assert (file, int(line) >= 11) == ("dev/books/look.yaml", True)


FINE = [
    WRITE,
    WRITE.replace("    probe:", "    repeatable: true #").replace("    undo:", "    doc: x #"),
    WRITE.replace("    undo:", "    point_of_no_return: it is gone #"),
    WRITE.replace("[setctl, on]", '[setctl, "${vars.pick.id}"]') + "    late: [{name: pick.id, type: int, pattern: '[0-9]+'}]\n",
    WRITE.replace("[setctl, off]", '[setctl, "${vars.pick.id}"]') + "    late: [{name: pick.id, type: int, pattern: '[0-9]+'}]\n",
    WRITE + "    attempts: 2\n  - {id: again, kind: choose, options: {more: change, less: end}}\n",
    "  - {id: again, kind: choose, options: {look: first, leave: end}}\n",
    "  - {id: x, kind: ssh, argv: [cat], stdin: {text: \"${params.token}\"}}\n",
    "  - {id: x, kind: sql, target: db, query: \"select ${params.token}, ${vars.pick.at}\"}\n",
    "  - {id: x, kind: ssh, sh: 'echo \"$1\" $${HOME}', args: [\"${params.unit}\"]}\n",
    "  - {id: x, kind: manual, instructions: \"export ${HOME}\", ask: {channel: string}}\n"
    "  - {id: y, kind: ssh, argv: [echo, \"${vars.x.channel}\"], if: \"${vars.x.channel} != none\"}\n",
    "  - {id: x, kind: wait, until: {argv: [getctl], expect: {stdout_matches: on}}}\n",
    "  - {id: x, kind: ssh, argv: [ls, \"-${params.unit}\", \"${run.id}\"], next: end}\n",
]  # fmt: skip


@pytest.mark.parametrize("steps", FINE)
def test_what_is_fine(tree: Path, steps: str) -> None:
    add(tree, steps)
    assert [each for each in said(tree.parent) if "targets" not in each] == []


def test_a_secret_has_no_other_way_out_of_a_sql_file(tree: Path) -> None:
    put(tree / "sql/x.sql", "select ${params.nope}")
    add(tree, "  - {id: x, kind: sql, target: db, file: sql/x.sql}\n")
    assert "there is no ${params.nope}" in only(tree)


def test_a_capture_that_comes_too_late(tree: Path) -> None:
    edit(tree / "books/look.yaml", "argv: [uptime]", 'argv: [echo, "${vars.pick.id}"]')
    assert only(tree).startswith("book:11:")
    assert "is captured later. A step has" in only(tree)


class TestWarnings:
    @pytest.mark.parametrize(
        "step",
        [
            "kind: ssh, argv: [rm, -rf, /tmp/x]",
            "kind: ssh, argv: [sudo, systemctl, --now, restart, nginx]",
            "kind: ssh, argv: 'kubectl delete pod x'",
            "kind: ssh, sh: 'cd /tmp && rm x'",
            "kind: ssh, sh: 'echo x > /etc/motd'",
            "kind: sql, target: db, query: INSERT into t values (1)",
            "kind: sql, target: db, query: with x as (select 1) delete from t",
            "kind: sql, target: db, query: select pg_terminate_backend(1)",
        ],
    )
    def test_a_read_that_looks_like_a_write(self, tree: Path, step: str) -> None:
        add(tree, f"  - {{id: x, {_quoted(step)}}}\n")
        assert only(tree).startswith("warning: book:18:5: a read that looks like a write: ")

    @pytest.mark.parametrize(
        "step",
        [
            "kind: ssh, argv: [systemctl, status, nginx]",
            "kind: ssh, sh: 'ls 2>/dev/null | wc -l'",
            "kind: ssh, sh: 'grep x y 2>&1'",
            "kind: sql, target: db, query: \"select 'delete from t'\"",
            "kind: sql, target: db, query: select updated from inserts -- delete",
        ],
    )
    def test_a_read_that_does_not(self, tree: Path, step: str) -> None:
        add(tree, f"  - {{id: x, {step}}}\n")
        assert said(tree.parent) == []

    @pytest.mark.parametrize(
        ("step", "need"),
        [
            ("argv: [curl, -s, 'http://localhost/health']", "network"),
            ("argv: [curl, --unix-socket, /run/docker.sock, 'http://x/info']", "sockets"),
            ("sh: 'date; sudo /usr/bin/systemctl status nginx'", "sockets"),
            ("argv: 'kubectl get pods'", "network"),
        ],
    )
    def test_a_read_that_its_sandbox_would_keep_from_its_work(self, tree: Path, step: str, need: str) -> None:
        add(tree, f"  - {{id: x, kind: ssh, {step}}}\n")
        assert said(tree.parent) == []
        edit(tree / "environment.yaml", "targets:\n", "protection: {ssh: kernel-enforced}\ntargets:\n")
        assert f"may need {need}, and web is read in a sandbox" in only(tree)
        edit(tree / "books/look.yaml", "kind: ssh, " + step, f"kind: ssh, needs: [{need}], " + step)
        assert said(tree.parent) == []

    def test_a_captured_pid_without_its_start(self, tree: Path) -> None:
        edit(tree / "books/look.yaml", "columns: {id: int, at: timestamp}", "columns: {id: int, pid: int}")
        assert "a process id without its start time" in only(tree)
        edit(tree / "books/look.yaml", "pid: int}", "pid: int, backend_start: timestamp}")
        assert said(tree.parent) == []

    def test_a_step_that_no_way_leads_to(self, tree: Path) -> None:
        edit(tree / "books/look.yaml", "argv: [uptime]", "argv: [uptime], next: last")
        found = said(tree.parent)
        assert any("no way leads to rows" in each for each in found)

    def test_a_step_that_may_be_skipped_leads_on_although_it_says_next(self, tree: Path) -> None:
        edit(tree / "books/look.yaml", "argv: [uptime]", 'argv: [uptime], if: "${run.operator} == asha", next: last')
        assert said(tree.parent) == []

    def test_no_host_keys(self, tree: Path) -> None:
        (tree / "known_hosts").unlink()
        assert "known_hosts is missing or empty" in only(tree)

    def test_no_identity(self, tree: Path) -> None:
        edit(tree / "environment.yaml", '  ssh: {argv: [hostname], matches: "dev"}\n', "")
        assert only(tree).startswith("warning: manifest:10:3: no identity")

    def test_a_signer_who_is_nobody(self, tree: Path) -> None:
        with (tree / "access/allowed_signers").open("a") as stream:
            stream.write('eve namespaces="request.v1.dev@envtui" ssh-ed25519 AAAA\n')
        assert "'eve' is nobody's principal" in only(tree)


def _quoted(step: str) -> str:
    head, found, query = step.partition("query: ")
    return f'{head}query: "{query}"' if found else step


MANIFEST = [
    ("    read: shell\n", "    read: nothing\n", "there is no credential 'nothing'."),
    ("    read: shell\n", "    read: sql\n", "read needs a credential of kind ssh and access read."),
    ("    write: shell-write\n", "    write: shell\n", "write needs a credential of kind ssh and access write."),
    ("    write: shell-write\n", "    via: db\n", "db is no ssh target."),
    ("    write: shell-write\n", "    via: web\n", "the way leads in a circle: web → web."),
    ("    write: shell-write\n", "    via: none-such\n", "there is no target 'none-such'."),
    ("web1=web1.dev.example:22", "web1=web1.dev.example:99999", "is no port"),
    ("web1=web1.dev.example:22", "web[3-1]", "is no range"),
    ("    tls: disable\n", "    tls: verify-full\n", "tls verify-full needs ca."),
    ("    tls: disable\n", "    tls: require\n    ca: files/ca.pem\n", "there is no file files/ca.pem"),
    ("    dbname: shop\n", "    dbname: shop\n    min_protection: total\n", "'total' is no protection of sql."),
    ('matches: "dev"', 'matches: "("', "matches: "),
    ('matches: "dev"', 'matches: "dev", equals: x', "the identity of a target of kind ssh is"),
    ("user: dev-ro, key:", "key:", "user is missing."),
    ("user: dev-ro, key:", "user: dev-ro, secret: 'env:X', key:", "secret does not belong to a credential of kind ssh."),
    ("write_gate: advisory", "grant: {max: 5m}", "the last environment has to say its write_gate."),
    ("access: {", "access: {incident: {tracker: file}, ", "the tracker file needs path."),
    ("access: {", "access: {incident: {path: x}, ", "path does not belong to tracker: none."),
    ("access: {", "access: {incident: {pattern: '('}, ", "pattern: "),
    ("access: {", "access: {break_glass: {people: [eve]}, ", "there is no person 'eve'."),
    ("data: synthetic\n", "data: synthetic\ntimezone: Middle/Earth\n", "'Middle/Earth' is no time zone."),
    ("data: synthetic\n", "data: synthetic\nwindows: [{name: w, kind: deny, from: '22:30'}]\n", "a window is from and to"),
    ("data: synthetic\n", "data: synthetic\nmonitoring: {slo: {target: web, query: q, pass: < 1, fail: '> 2'}}\n",
     "a check on a target of kind ssh"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), MANIFEST, ids=[expected for *_, expected in MANIFEST])
def test_one_wrong_line_in_the_manifest(tree: Path, old: str, new: str, expected: str) -> None:
    path = tree / "environment.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    found = [each for each in said(tree.parent) if not each.startswith("warning")]
    assert len(found) == 1, found
    assert found[0].startswith("dev/environment.yaml:")
    assert expected in found[0]


def test_only_the_last_environment_has_to_say_its_write_gate(tmp_path: Path) -> None:
    root = grow(tmp_path, "dev", "production")
    for name in ("dev", "production"):
        edit(root / name / "environment.yaml", "access: {write_gate: advisory}\n", "")
    assert [each.split(":")[0] for each in said(root)] == ["production/environment.yaml"]


def test_a_gate_is_exactly_one_key(tree: Path) -> None:
    edit(tree / "books/look.yaml", "owner: team", "owner: team\ngates: [{soak: {for: 1h}, order: {}}]")
    assert "a gate is exactly one key." in only(tree)


def test_a_parameter_that_cannot_be(tree: Path) -> None:
    edit(tree / "books/look.yaml", 'default: "shop"', 'default: "SHOP"')
    assert only(tree).startswith("book:8:3: ")
