"""Write access as use cases: ask, review, sign, receive, activate, spend, end. Both doors call these; no state of its own.

    terms: Terms            what this client's own checkout says (core.access): environment, policy, roster, manifest, machine
    signer: Signer          one key of whoever signs; verifier: Verifier; tracker: Tracker; journal: Journal; clock: Clock (ports)
    waiting: (str) -> None  called with a sentence while a person must touch a key or answer their agent

Requester, before:
    ask(plan, incident_id, reason, ttl_ms, *, terms, signer, tracker, journal, clock, waiting, full=False) -> (Request, block)
        Looks the incident up, checks reason and ttl, signs, journals Requested. ttl_ms 0: the policy's maximum.
        `plan` is final: Plan.incident and Plan.date are filled by the caller, Plan.operator is the person of the signer's key.
Approver (another client, or beside you: then with the approver's signer):
    review(block, *, terms, replan, verifier, tracker, clock) -> Review
        replan: (Request) -> Plan, from the reader's own checkout (run, book, inputs, date, incident.id, requester.person)
        Review: asked (VerifiedRequest), request, plan (None when it cannot be made), incident, refusals, differences
    sign(review, verdict, *, terms, signer, clock, waiting, reason="") -> block          verdict "approve" | "deny"
Requester, after:
    receive(block, run, *, terms, verifier, journal, clock) -> SignedOff | SignOffRefused     the journalled event
    status(run, *, terms, plan, verifier, journal, clock) -> Standing
        Standing: asked, given, refusals (what still lacks; empty: activate), state DRAFT | REQUESTED | DENIED | EXPIRED |
        APPROVED | USED, needed (sign-offs by others), approvers (people who may give one)
    activate(run, *, terms, plan, verifier, tracker, journal, clock) -> Grant                 journals GrantActivated
    spend(grant, act, attempt, *, terms, tracker, journal, clock) -> Permit                   journals PermitSpent first
    recheck(grant, *, terms, tracker, clock) -> (reason, why) | None     every minute and tick: what ends the grant now
    end(grant, reason, *, journal, why="") -> GrantEnded                 journals GrantEnded
Pure, in rules.grants: why_not(grant, act, attempt, spent, wall_ms, boot_ms) -> Refusal | None;
    left_ms(grant, wall_ms, boot_ms) -> int for the countdown; examine(…) -> refusals.

All raise Refused with a way out; UsageError for a block that is none.
"""
