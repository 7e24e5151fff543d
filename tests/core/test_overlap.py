import itertools
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stretto.core.overlap import claims, is_everything, matches, overlap, shared_names


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("app/models.py", "app/models.py", True),
        ("app/models.py", "app/views.py", False),
        ("app", "app/models.py", True),
        ("app/", "app/search/x.py", True),
        ("app", "apple/x.py", False),
        ("./app/x.py", "/app/x.py", True),
        ("app/**", "app/search/x.py", True),
        ("app/*", "app/search/x.py", True),
        ("app/*.py", "app/search/x.py", False),
        ("app/*.py", "app/models.py", True),
        ("**/*.py", "app/*.md", False),
        ("**/*.py", "app/**", True),
        ("**/test_*.py", "tests/*_b.py", True),
        ("src/**/api/*.ts", "src/a/b/api/x.ts", True),
        ("src/**/api/*.ts", "src/a/b/apis/x.ts", False),
        ("migrations/**", "app/**", False),
        ("a?.py", "ab.py", True),
        ("a?.py", "abc.py", False),
        ("[ab].py", "[bc].py", True),
        ("[ab].py", "[cd].py", False),
        ("[a-f].py", "e.py", True),
        ("[!a].py", "b.py", True),
        ("x/{a,b}.py", "x/b.py", True),
        ("x/{a,b}.py", "x/c.py", False),
        ("{a,b}/{c,d}", "b/d", True),
        ("*", "a/b/c", True),
        ("app/[slug]/page.tsx", "app/s/page.tsx", True),
        ("a[]b", "a[]b", True),
        ("größe/*", "größe/ä", True),
        ("app/x.ts", "**/*.py", False),
        (".github", ".github/workflows/ci.yml", True),
        ("conf.d/", "conf.d/a.conf", True),
        ("src/*.{js,ts}", "src/a.ts", True),
        ("src/*.{js,ts}", "src/a.py", False),
    ],
)
def test_globs(one, other, expected):
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("app/**", "app/a/b.py", True),
        ("app", "app/a.py", True),
        ("app/*.py", "app/a.py", True),
        ("app/*.py", "lib/app/a.py", False),
        ("app/a.py", "app", False),
        ("a*", "a*", True),
        ("ab", "a*", False),
    ],
)
def test_paths(glob, path, expected):
    assert matches(glob, path) is expected


def as_regex(glob):
    """An independent reading of small globs: names of `a`, `b`, `*`, `**`."""
    parts = glob.split("/")
    pattern = ""
    for name in parts:
        pattern += "(/[^/]+)*" if name == "**" else "/" + name.replace("*", "[^/]*")
    return re.compile(pattern + "(/.*)?")


NAMES = ["a", "b", "ab", "ba", "aa"]
PATHS = ["/" + "/".join(parts) for size in (1, 2, 3, 4) for parts in itertools.product(NAMES, repeat=size)]
#: enough for any path that two globs of three names can share: each covers what lies below it, too
COMMON = ["/" + "/".join(parts) for size in range(1, 7) for parts in itertools.product(["a", "b", "ab"], repeat=size)]
GLOBS = st.lists(st.sampled_from(["a", "b", "*", "a*", "*b", "**", "ab"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=200, deadline=None)
@example("a/b/b", "**/a/a")
@given(GLOBS, GLOBS)
def test_overlap_means_that_one_path_matches_both(one, other):
    first, second = as_regex(one), as_regex(other)
    common = any(first.fullmatch(path) and second.fullmatch(path) for path in COMMON)
    assert overlap(one, other) == common


@settings(deadline=None)
@given(GLOBS, st.sampled_from(PATHS))
def test_matching_agrees_with_the_regex(glob, path):
    assert matches(glob, path[1:]) == bool(as_regex(glob).fullmatch(path))


@given(st.text(), st.text())
def test_any_text_may_stand_where_a_glob_should(one, other):
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one)


def test_claims_in_the_order_of_the_plan():
    files = {"z": ["app/**"], "a": ["app/x.py", "docs/*"], "m": ["docs/index.md", "app/y.py"]}
    found = claims(files, always, 9)
    assert [(one.one, one.other) for one in found] == [("z", "a"), ("z", "m"), ("a", "m")]
    assert found[2].shared == (("docs/*", "docs/index.md"),)


def test_a_thousand_tasks_with_files_of_their_own_are_compared_quickly():
    start = time.process_time()
    assert claims({f"t{n}": [f"src/m{n}/**", f"tests/test_m{n}.py"] for n in range(1000)}, always, 9) == []
    assert time.process_time() - start < 2


def test_hostile_globs_end():
    stars = "*a" * 60
    assert not overlap(stars, "b" * 100)
    assert overlap("/".join(["**"] * 60), "/".join(["**", "a"] * 30))
    assert overlap("{a,b}" * 30, "ab" * 15)


def test_at_most_so_many_partners_and_none_that_runs_at_another_time():
    files = {f"t{n}": ["src/**"] for n in range(6)}
    assert [one.other for one in claims(files, always, 2)].count("t5") == 2
    assert claims(files, lambda one, other: False, 9) == []


def test_tables():
    found = shared_names({"a": ["products", "users"], "b": ["Products"], "c": ["orders"]}, always, 9)
    assert [(one.one, one.other, one.shared) for one in found] == [("a", "b", (("products", "products"),))]


def always(one: str, other: str) -> bool:
    return True


@pytest.mark.parametrize("glob", ["**", "*", ".", "./", "**/*", "/"])
def test_everything(glob):
    assert is_everything(glob)


def test_not_everything():
    assert not is_everything("src/**")
