"""A book that uses most of the format at once, as the format's author drew it, loads and is clean."""

from __future__ import annotations

from pathlib import Path

from tree_kit import edit, grow, put, said

from envtui.core.runbook import ChooseStep, HttpStep, SshStep
from envtui.outside.trees.load import load_tree

BOOK = """\
schema: envtui/runbook@1
id: gateway-policy-revert
environment: production
title: "Gateway answers 403 to everyone: revert the last policy"
owner: team-identity
alerts: [GatewayForbiddenRatio]
use_when: 403s above 5 % that began minutes after a policy change.
change: rollback
doc: |
  Markdown; links get numbers and keys.
defaults: {target: web, timeout: 60s}
params:
  window: {type: duration, default: 15m, max: 24h, ask: "How far back to look?"}
gates:
  - rehearsal: {in: staging, of: "staging:gateway-policy-rollback", within: 7d, waive: incident}
before:
  - {id: up, kind: ssh, argv: [gatewayctl, status], capture: {version: {from: stdout, regex: "version (\\\\S+)", per_host: true}}}
steps:
  - id: rate
    kind: sql
    target: db
    title: How many requests are refused?
    doc: Above 5 % and rising means the policy; a flat 1 % is the usual noise.
    query: "select status, count(*) from access_log where at > now() - ${params.window}::interval group by 1 order by 2 desc"
    expect: {rows_min: 1}
  - {id: cause, kind: choose, title: "Is it the policy?", options: {"403s began with the change": diff, "something else": end}}
  - {id: diff, kind: ssh, argv: [gatewayctl, policy, diff, --previous]}
  - id: revert
    kind: ssh
    mode: write
    argv: [gatewayctl, policy, revert, --keep-as, "${run.id}"]
    fanout: {batches: [1, 100%], max_failures: 0, pause: 20s}
    probe: {argv: [gatewayctl, policy, current], applied: {stdout_matches: "^previous"}, absent: {stdout_matches: "^latest"}}
    undo: {argv: [gatewayctl, policy, restore, "${run.id}"]}
    on_failure: undo
  - {id: healthy, kind: http, target: metrics, check: slo, poll: {every: 15s, for: 5m, failure_limit: 1}, on_failure: undo}
  - {id: tell, kind: manual, instructions: "Post the all-clear.", ask: {channel: string}}
after:
  - watch: {for: 48h, every: 15m, checks: [slo], on_breach: propose-undo}
"""


def test_it_loads_and_is_clean(tmp_path: Path) -> None:
    root = grow(tmp_path, "staging", "production")
    manifest = root / "production/environment.yaml"
    edit(
        manifest,
        "targets:\n",
        "  metrics: {kind: http, access: read}\ntargets:\n"
        '  metrics: {kind: http, base: "http://metrics.production.example", read: metrics, identity: {path: /, expect: x}}\n',
    )
    with manifest.open("a") as stream:
        stream.write("monitoring: {slo: {target: metrics, path: /ratio, pass: < 0.01, fail: '> 0.05'}}\n")
    put(root / "production/books/gateway/revert.yaml", BOOK)
    assert said(root) == []
    book = load_tree(root / "production").books["gateway-policy-revert"]
    assert book.folder == "gateway"
    (rate, cause, _, revert, healthy, _) = book.runbook.steps
    assert rate.id == "rate"
    assert isinstance(cause, ChooseStep)
    assert cause.options == {"403s began with the change": "diff", "something else": "end"}
    assert isinstance(revert, SshStep)
    assert revert.fanout is not None
    assert revert.fanout.batches == ("1", "100%")
    assert isinstance(healthy, HttpStep)
    assert healthy.poll is not None
    assert healthy.poll.for_ == "5m"
    assert book.runbook.before[0].capture["version"].regex == r"version (\S+)"
