from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.approval import holds, standing, why_not
from stretto.core.model import Approval

GIVEN = Approval(task="r/a", head="h1", base="b1", patch="sha256:aa", by="me", at=10.0)


@pytest.mark.parametrize(
    ("approvals", "patch", "reason"),
    [
        ((), "sha256:aa", "not approved yet"),
        ((GIVEN,), "sha256:aa", ""),
        ((GIVEN,), "sha256:bb", "the patch changed after it was approved"),
        ((GIVEN,), "", "there is no patch to approve"),
        ((replace(GIVEN, revoked_at=11.0),), "sha256:aa", "the approval was withdrawn"),
        ((replace(GIVEN, revoked_at=11.0), replace(GIVEN, at=12.0)), "sha256:aa", ""),
        ((replace(GIVEN, at=12.0, patch="sha256:bb"), GIVEN), "sha256:aa", ""),
        ((GIVEN, replace(GIVEN, at=12.0, patch="sha256:bb")), "sha256:cc", "the patch changed after it was approved"),
    ],
)
def test_an_approval_holds_for_its_patch_only(approvals, patch, reason):
    assert why_not(approvals, patch) == reason
    assert (standing(approvals, patch) is not None) == (reason == "")


def test_it_survives_a_refresh_that_leaves_the_patch_equal():
    refreshed = replace(GIVEN, head="h2", base="b2")
    assert holds(refreshed, "sha256:aa")


def test_the_latest_standing_one_is_shown():
    later = replace(GIVEN, at=20.0, by="auto")
    assert standing([later, GIVEN], "sha256:aa") is later


@given(st.lists(st.tuples(st.sampled_from(["p", "q", ""]), st.booleans(), st.integers(0, 5))), st.sampled_from("pq"))
def test_nothing_but_an_unrevoked_equal_patch_ever_holds(rows, patch):
    approvals = [
        replace(GIVEN, patch=wanted, at=float(at), revoked_at=99.0 if revoked else None) for wanted, revoked, at in rows
    ]
    expected = any(wanted == patch and not revoked for wanted, revoked, _ in rows)
    assert (standing(approvals, patch) is not None) is expected
    assert (why_not(approvals, patch) == "") is expected
