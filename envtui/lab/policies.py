"""The gateway's policies as the lab ships them, and how one is read."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

ISSUER = "https://id.example"

FIRST = f"""\
<policy>
  <validate-jwt issuer="{ISSUER}" algorithm="HS256"/>
</policy>
"""

GOOD = f"""\
<policy>
  <validate-jwt issuer="{ISSUER}" algorithm="HS256"/>
  <require-claim name="sub"/>
  <on-missing status="403"/>
</policy>
"""

REQUIRE_TENANT = f"""\
<policy>
  <validate-jwt issuer="{ISSUER}" algorithm="HS256"/>
  <require-claim name="sub"/>
  <require-claim name="tenant"/>
  <on-missing status="403"/>
</policy>
"""
"""The six lines of the outage: no client sends the claim `tenant` yet, so every call is refused."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a token must have. `missing_status` answers a valid token that lacks a claim."""

    issuer: str
    claims: tuple[str, ...] = ()
    missing_status: int = 403

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Raises ValueError when the text is no policy."""
        try:
            root = ElementTree.fromstring(text)  # noqa: S314 - written by the lab's own operator, on loopback
        except ElementTree.ParseError as error:
            raise ValueError(f"not XML: {error}") from error
        validate = root.find("validate-jwt")
        if root.tag != "policy" or validate is None or validate.get("algorithm") != "HS256":
            raise ValueError('expected <policy> with <validate-jwt issuer="…" algorithm="HS256"/>')
        missing = root.find("on-missing")
        return cls(
            issuer=validate.get("issuer", ""),
            claims=tuple(claim.get("name", "") for claim in root.findall("require-claim")),
            missing_status=int(missing.get("status", "403")) if missing is not None else 403,
        )
