import os
import subprocess
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core import names

TASK_IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)
RUN_IDS = st.builds(names.run_id, st.text(), st.integers(0, 2**64))
UIDS = st.builds(names.uid, RUN_IDS, TASK_IDS)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Search release", "search-release"),
        ("Añadir búsqueda", "anadir-busqueda"),
        ("  --  Hello, World!! ", "hello-world"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 60, "a" * 40),
        ("FOO_bar.Baz", "foo-bar-baz"),
        ("ﬁx the ①", "fix-the-1"),
    ],
)
def test_slug(text, slug):
    assert names.slugify(text) == slug


def test_slug_of_text_that_ascii_cannot_show_is_stable_and_differs():
    a, b = names.slugify("検索"), names.slugify("発表")
    assert a == names.slugify("検索") != b
    assert names.is_task_id(a)


@given(st.text())
def test_every_slug_is_a_task_id(text):
    assert names.is_task_id(names.slugify(text))


@given(st.text(), st.sets(st.text(max_size=3)))
def test_a_suggestion_is_valid_and_free(text, taken):
    taken = {names.slugify(t) for t in taken} | {names.slugify(text)}
    suggestion = names.suggest_id(text, taken)
    assert names.is_task_id(suggestion)
    assert suggestion not in taken


@pytest.mark.parametrize("text", ["", "-a", "A", "a_b", "a.b", "a/b", "é", "a b", "a" * 41, "a\n", "٣"])
def test_not_task_ids(text):
    assert not names.is_task_id(text)


@given(st.text(), st.integers())
def test_run_ids_are_run_ids(title, bits):
    assert names.is_run_id(names.run_id(title, bits))


def test_run_id_uses_all_twenty_bits():
    ids = {names.run_id("a", bits) for bits in range(2**12)} | {
        names.run_id("a", bits << 12) for bits in range(1, 2**8)
    }
    assert len(ids) == 2**12 + 2**8 - 1
    assert names.run_id("a", 0) == "a-aaaa"
    assert names.run_id("a", 2**20 - 1) == "a-7777"


@given(UIDS, st.sampled_from(names.REF_KINDS))
def test_nothing_escapes(uid, kind):
    run, _, task = uid.partition("/")
    for path, root in (
        (names.file_name(uid), ""),
        (names.branch_name(uid), "stretto/"),
        (names.ref_name(kind, uid, "0001"), f"refs/stretto/{kind}/{run}/{task}/"),
    ):
        assert path.startswith(root)
        assert ".." not in path
        assert not PurePosixPath(path).is_absolute()
    assert "/" not in names.file_name(uid)
    assert names.split_ref(names.ref_name(kind, uid, "a", "1")) == (kind, uid, ("a", "1"))
    assert names.ref_name(kind, uid, "1").startswith(names.ref_prefix(kind, uid))


@given(UIDS, UIDS)
def test_no_collision_after_case_folding(one, other):
    if one == other:
        return
    for make in (names.file_name, names.branch_name, lambda uid: names.ref_name("snap", uid, "1")):
        first, second = make(one).casefold(), make(other).casefold()
        assert first != second
        assert not first.startswith(second + "/")


@pytest.mark.parametrize("rest", [(), ("",), ("..",), ("a/b",), ("a.lock",), ("-a",), ("A",), ("a\n",)])
def test_a_ref_part_that_could_escape_is_refused(rest):
    with pytest.raises(ValueError, match="rest of a ref"):
        names.ref_name("snap", "a-aaaa/b", *rest)


@pytest.mark.parametrize("uid", ["", "a", "a/b", "a-aaaa/", "a-aaaa/b/c", "../b", "a-aaaa/..", "A-aaaa/b"])
def test_not_uids(uid):
    assert names.split_uid(uid) is None
    with pytest.raises(ValueError, match="not a uid"):
        names.file_name(uid)


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/stretto/snap/a-aaaa/b", "refs/stretto/other/a-aaaa/b/1", "x"])
def test_other_refs_are_not_ours(ref):
    assert names.split_ref(ref) is None


@pytest.mark.parametrize(
    "prefix", ["", "/", "a/", "a//b", "..", "a/..", "refs", "refs/heads", "HEAD", "a b", "-a", "é", "a.lock"]
)
def test_bad_prefixes(prefix):
    assert not names.is_prefix(prefix)
    with pytest.raises(ValueError, match="prefix"):
        names.branch_name("a-aaaa/b", prefix)


def test_branch_with_a_prefix():
    assert names.branch_name("a-aaaa/b", "team/Ann") == "team/Ann/a-aaaa/b/work"


def _git_accepts(refs: list[list[str]]) -> list[bool]:
    """Whether git accepts each of these refs."""
    return [
        subprocess.run(["git", "check-ref-format", *ref], check=False, capture_output=True).returncode == 0
        for ref in refs
    ]


def test_git_accepts_all_our_names():
    @given(st.lists(st.tuples(UIDS, st.sampled_from(names.REF_KINDS)), min_size=5, max_size=5))
    def check(made):
        for uid, kind in made:
            all_refs.add(names.ref_name(kind, uid, "1"))
            all_refs.add("refs/heads/" + names.branch_name(uid))

    all_refs: set[str] = set()
    check()
    sample = sorted(all_refs, key=lambda ref: (-len(ref), ref))
    assert all(_git_accepts([[ref] for ref in sample[:60] + sample[-60:]]))


BRANCHES = [
    *("main", "feature/x", "a.b", "a..b", "a.lock", "a.lock/b", ".a", "a/.b", "a/", "/a", "a//b", "a~1", "a^", "a:b"),
    *(
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a@{b",
        "a@b",
        "@a",
        "-a",
        "a-",
        "a.",
        "HEAD",
        "é",
        "J-1",
        "a b",
        "a\x7f",
        "a\tb",
        "a\n",
    ),
]
STRICTER_THAN_GIT = ("@", "refs/heads/x", "")  # git takes the first two; nobody means them


def test_is_branch_agrees_with_git():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    for name in BRANCHES:
        git = subprocess.run(
            ["git", "check-ref-format", "--branch", name], check=False, capture_output=True, env=environment, cwd="/"
        )
        assert names.is_branch(name) == (git.returncode == 0), name
    assert not any(names.is_branch(name) for name in STRICTER_THAN_GIT)


@given(st.text(max_size=30))
def test_is_branch_never_raises_and_never_lets_a_ref_escape(text):
    if names.is_branch(text):
        assert ".." not in text
        assert not text.startswith(("/", "-"))
