"""Share nothing: each thing that two trees may not have in common, and what they may."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tree_kit import BOOK, edit, grow, put, said, signer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return grow(tmp_path, "dev", "staging", "production")


@pytest.mark.parametrize("path", ["sql/reseed.sql", "files/deep/x.sh"])
def test_a_file_copied_between_trees(root: Path, path: str) -> None:
    put(root / "dev" / path, "select 1")
    put(root / "staging" / "files" / "other.name", "select 1")
    assert said(root) == [
        f"dev/{path}: it is byte for byte the same as staging/files/other.name. Each environment has its own files.",
        f"staging/files/other.name: it is byte for byte the same as dev/{path}. Each environment has its own files.",
    ]


def test_a_book_copied_between_trees(root: Path) -> None:
    shutil.copy(root / "dev/books/look.yaml", root / "staging/books/look.yaml")
    found = said(root)
    assert sum("byte for byte" in each for each in found) == 2
    assert any("this book is for dev, and its tree is staging's" in each for each in found)


def test_a_hard_link_into_another_tree(root: Path) -> None:
    put(root / "dev/files/x", "")
    (root / "production/files").mkdir()
    os.link(root / "dev/files/x", root / "production/files/x")
    assert [each for each in said(root) if "hard link" in each] == [
        "dev/files/x: it is a hard link to production/files/x. Each environment has its own files.",
        "production/files/x: it is a hard link to dev/files/x. Each environment has its own files.",
    ]


def test_empty_files_and_evidence_may_be_equal(root: Path) -> None:
    for name in ("dev", "staging"):
        put(root / name / "access/revoked_keys", "")
        put(root / name / "files/empty", "")
        put(root / name / "evidence/fact.json", "{}")
    assert said(root) == []


def test_a_host_in_two_trees(root: Path) -> None:
    edit(root / "dev/environment.yaml", "web1.dev.example:22", "WEB1.production.example:22")
    found = said(root)
    assert (
        "dev/environment.yaml:12:5: this address is also in production/environment.yaml. An environment has its own."
    ) in found
    assert any(each.startswith("production/environment.yaml:12:5: this address is also in dev/") for each in found)


def test_a_host_in_two_trees_by_a_range(root: Path) -> None:
    edit(root / "dev/environment.yaml", '"web1=web1.dev.example:22"', '"web[1-3]=web[1-3].production.example:22"')
    assert any("this address is also in production" in each for each in said(root))


def test_one_machine_may_serve_two_environments_on_two_ports(root: Path) -> None:
    for port, name in enumerate(("dev", "staging", "production"), 2201):
        edit(root / name / "environment.yaml", f"web1=web1.{name}.example:22", f"web1=127.0.0.1:{port}")
        edit(root / name / "environment.yaml", f"db1=db1.{name}.example:5432", f"db1=127.0.0.1:{port + 100}")
    assert said(root) == []


def test_one_server_may_hold_the_databases_of_two_environments(root: Path) -> None:
    edit(root / "dev/environment.yaml", "db1.dev.example", "db1.shared.example")
    edit(root / "staging/environment.yaml", "db1.staging.example", "db1.shared.example")
    assert any("this database is also in" in each for each in said(root))
    edit(root / "staging/environment.yaml", "dbname: shop", "dbname: shop_staging")
    assert said(root) == []


def test_http_bases_are_compared_by_host_and_port(root: Path) -> None:
    target = "  api: {{kind: http, base: '{base}', read: web, identity: {{path: /id, expect: x}}}}\n"
    token = "  web: {{kind: http, access: read, header: X, secret: 'env:{name}_WEB'}}\n"
    for name, base in (("dev", "https://api.example/v1"), ("staging", "https://api.example:443/v2")):
        edit(
            root / name / "environment.yaml",
            "targets:\n",
            token.format(name=name) + "targets:\n" + target.format(base=base),
        )
    assert len([each for each in said(root) if "this address is also in" in each]) == 2


def test_a_host_key_in_two_trees(root: Path) -> None:
    put(root / "dev/known_hosts", "# ours\nother.example ssh-ed25519 CCCCCCCCCCCC comment\n")
    assert "dev/known_hosts:2:1: this host key is also in production/known_hosts. An environment has its own." in said(
        root
    )


def test_a_revoked_host_key_may_be_revoked_everywhere(root: Path) -> None:
    for name in ("dev", "staging"):
        with (root / name / "known_hosts").open("a") as stream:
            stream.write("@revoked * ssh-ed25519 STOLEN\n")
    assert said(root) == []


def test_an_account_in_two_trees(root: Path) -> None:
    edit(root / "dev/environment.yaml", 'user: dev-ro, key: "file:~/.ssh/dev"', 'user: "${me}", key: "file:~/.ssh/id"')
    assert said(root) == []
    edit(
        root / "staging/environment.yaml",
        'user: staging-ro, key: "file:~/.ssh/staging"',
        'user: "${me}", key: "file:~/.ssh/id"',
    )
    assert [each.split(":")[0] for each in said(root)] == ["dev/environment.yaml", "staging/environment.yaml"]


def test_a_system_identifier_in_two_trees(root: Path) -> None:
    for name in ("dev", "production"):
        edit(
            root / name / "environment.yaml",
            "    read: sql",
            "    read: sql\n    identity: {query: q, equals: e, system_identifier: '7'}",
        )
    assert sum("this system_identifier is also in" in each for each in said(root)) == 2


@pytest.mark.parametrize(
    "argv",
    [
        '[curl, "http://web1.production.example:22/x"]',
        "[psql, -h, db1.production.example]",
        '"psql -h db1.production.example:5432"',
        '[sh, "--host=db1.production.example"]',
    ],
)
def test_another_trees_address_in_a_command(root: Path, argv: str) -> None:
    edit(root / "staging/books/look.yaml", "argv: [uptime]", f"argv: {argv}")
    (problem,) = said(root)
    assert problem.startswith("staging/books/look.yaml:11:")
    assert "is an address of production. A book reaches its own environment only." in problem


def test_another_trees_address_in_a_script_or_a_default(root: Path) -> None:
    edit(root / "dev/books/look.yaml", "argv: [uptime]", 'sh: "ssh web1.staging.example true"')
    edit(root / "dev/books/look.yaml", 'default: "shop", pattern: "[a-z]+"', 'default: "db1.staging.example:5432"')
    assert [each.split(":")[1] for each in said(root)] == ["8", "11"]


def test_prose_may_mention_anything(root: Path) -> None:
    edit(root / "staging/books/look.yaml", "owner: team", "owner: team\ndoc: 'see web1.production.example:22'")
    assert said(root) == []


def test_a_longer_name_is_another_name(root: Path) -> None:
    edit(
        root / "staging/books/look.yaml",
        "argv: [uptime]",
        "argv: [host, not-web1.production.example, web1.production.example.org]",
    )
    assert said(root) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (signer("dev"), "this signer's namespace 'request.v1.dev@envtui' is not one of production."),
        ("asha ssh-ed25519 AAAA\n", "this signer is not bound to the environment."),
        ('asha namespaces="*" ssh-ed25519 AAAA\n', "this signer's namespace '*' is not one of production."),
        ('asha namespaces="approve.v1.prod*@envtui" ssh-ed25519 A\n', "this signer's namespace"),
        ('asha namespaces="request.v1.production@envtui,file" ssh-ed25519 A\n', "this signer's namespace 'file'"),
    ],
)
def test_a_signer_who_is_not_bound_to_this_environment(root: Path, line: str, expected: str) -> None:
    put(root / "production/access/allowed_signers", "# who\n\n" + line)
    (problem,) = said(root)
    assert problem.startswith("production/access/allowed_signers:3:1: ")
    assert expected in problem


def test_any_number_of_environments(tmp_path: Path) -> None:
    names = [f"env{number}" for number in range(12)]
    root = grow(tmp_path, *names)
    assert said(root) == []
    put(root / "env11/books/look.yaml", BOOK.format(name="env11").replace("[uptime]", "[host, web1.env0.example]"))
    assert len(said(root)) == 1
