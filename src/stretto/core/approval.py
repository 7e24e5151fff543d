"""What an approval is bound to: the patch, not the position.

An approval records `{head, base, patch}`. It holds while the patch of the task's present head, against its present
merge base with the target, is the approved one: a refresh that leaves the patch equal keeps it, any other change voids
it. Revoked approvals never hold again; a later one for the same patch is a new row.
"""

from __future__ import annotations

from collections.abc import Iterable

from stretto.core.model import Approval


def holds(approval: Approval | None, patch: str) -> bool:
    """Whether this approval is consent to this patch.

    >>> given = Approval(task="r/a", head="1", base="0", patch="sha256:aa", by="me", at=1.0)
    >>> holds(given, "sha256:aa"), holds(given, "sha256:bb"), holds(None, "sha256:aa")
    (True, False, False)
    """
    return approval is not None and approval.revoked_at is None and bool(patch) and approval.patch == patch


def standing(approvals: Iterable[Approval], patch: str) -> Approval | None:
    """The latest approval that holds for this patch, or None."""
    held = [approval for approval in approvals if holds(approval, patch)]
    return max(held, key=lambda approval: approval.at, default=None)


def why_not(approvals: Iterable[Approval], patch: str) -> str:
    """Why nothing holds for this patch, as the end of a sentence for `explain`; empty when something does."""
    known = sorted(approvals, key=lambda approval: approval.at)
    if standing(known, patch) is not None:
        return ""
    if not patch:
        return "there is no patch to approve"
    if not known:
        return "not approved yet"
    if known[-1].revoked_at is not None:
        return "the approval was withdrawn"
    return "the patch changed after it was approved"
