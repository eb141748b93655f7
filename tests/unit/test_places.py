from __future__ import annotations

import msgspec
import pytest

from envtui.core.environment import Environment, Identities, Identity, SshTarget
from envtui.core.errors import UsageError
from envtui.rules.places import members, places


def hosts(*entries: str) -> list[tuple[str, str]]:
    return [(m.name, m.address) for m in members("t", SshTarget(hosts=entries, read="r"))]


def test_ranges_and_addresses() -> None:
    assert hosts("app-[08-10].prod") == [(f"app-{n}.prod", f"app-{n}.prod:22") for n in ("08", "09", "10")]
    assert hosts("a[1-2]=10.0.0.[11-12]:2222") == [("a1", "10.0.0.11:2222"), ("a2", "10.0.0.12:2222")]
    assert hosts("six=[2001:db8::1]:2222", "bare=2001:db8::2") == [
        ("six", "[2001:db8::1]:2222"),
        ("bare", "[2001:db8::2]:22"),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "a b",
        "-oProxyCommand=x",
        "a=",
        "a=b:0",
        "a=b:99999",
        "a=b:x",
        "a[3-1]",
        "a[1-2]=b[1-3]",
        "a[1-9999]",
        "a=b/c",
        "a=b@c",
    ],
)
def test_what_is_no_host(entry: str) -> None:
    with pytest.raises(UsageError):
        hosts(entry)


def test_no_member_and_a_member_twice() -> None:
    with pytest.raises(UsageError, match="no member"):
        hosts()
    with pytest.raises(UsageError, match="twice"):
        hosts("a", "a=b")


ENVIRONMENT = msgspec.convert(
    {
        "schema": "envtui/environment@1",
        "name": "dev",
        "purpose": "p",
        "data": "synthetic",
        "credentials": {
            "r": {"kind": "ssh", "access": "read", "user": "${me}-ro"},
            "w": {"kind": "ssh", "access": "write", "user": "deploy", "sudo": True},
            "q": {"kind": "sql", "access": "read"},
        },
        "targets": {
            "gw": {"kind": "ssh", "hosts": ["a"], "read": "r", "write": "w", "via": "gw"},
            "only-read": {"kind": "ssh", "hosts": ["a"], "read": "r"},
            "crossed": {"kind": "ssh", "hosts": ["a"], "read": "w"},
            "wrong-kind": {"kind": "ssh", "hosts": ["a"], "read": "q"},
            "wrong-way": {"kind": "sql", "hosts": ["a"], "dbname": "d", "read": "q", "via": "db"},
        },
    },
    Environment,
)


def test_the_account_is_the_credential_s() -> None:
    (read,) = places(ENVIRONMENT, "gw", "read", "asha")
    (write,) = places(ENVIRONMENT, "gw", "write", "asha", "root")
    assert (read.user, read.as_, read.credential, read.via) == ("asha-ro", "", "r", "gw")
    assert (write.user, write.as_, write.credential) == ("deploy", "root", "w")


@pytest.mark.parametrize(
    ("target", "access", "as_", "why"),
    [
        ("nowhere", "read", None, "no target"),
        ("only-read", "write", None, "no write credential"),
        ("crossed", "read", None, "is none"),
        ("wrong-kind", "read", None, "is none"),
        ("wrong-way", "read", None, "no ssh target"),
        ("gw", "read", "root", "sudo"),
    ],
)
def test_refused(target: str, access: str, as_: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        places(ENVIRONMENT, target, access, "asha", as_)


def test_a_place_changes_with_what_the_manifest_says_of_it() -> None:
    replace = msgspec.structs.replace
    target = ENVIRONMENT.targets["gw"]
    (before,) = places(ENVIRONMENT, "gw", "read", "asha")

    def terms(changed: Environment) -> str:
        return places(changed, "gw", "read", "asha")[0].terms

    identity = replace(ENVIRONMENT, identity=Identities(ssh=Identity(argv=("hostname",), equals="a")))
    key = replace(ENVIRONMENT.credentials["r"], key="file:other")
    credential = replace(ENVIRONMENT, credentials={**ENVIRONMENT.credentials, "r": key})
    prose = replace(ENVIRONMENT, targets={**ENVIRONMENT.targets, "gw": replace(target, doc="said otherwise")})
    assert len({before.terms, terms(identity), terms(credential)}) == 3
    assert terms(prose) == before.terms
