from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stretto.git.repository import Repository

BODY = "".join(f"line {n}\n" for n in range(1, 31))


def on(person: Any, base: str, **files: str | bytes) -> str:
    person.git("checkout", "-q", "--detach", base)
    commit: str = person.commit("x", **files)
    return commit


def test_the_id_stays_when_others_move_the_patch(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    head = on(person, base, file=BODY.replace("line 20\n", "line twenty\n"), new="n")
    moved = on(person, base, file="more\n" * 7 + BODY, other="def f():\n")
    again = on(person, moved, file="more\n" * 7 + BODY.replace("line 20\n", "line twenty\n"), new="n")
    assert repository.patch(base, head) == repository.patch(moved, again)
    merged = repository.commit(repository.merge(head, moved).tree, [head, moved], "refresh")
    assert repository.patch(moved, merged).id == repository.patch(base, head).id


def test_it_starts_at_the_merge_base(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    head = on(person, base, new="n")
    target = on(person, base, unrelated="u")
    assert repository.patch(target, head) == repository.patch(base, head)


def test_sizes_and_paths(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    odd = 'ö "q"\\ \t'
    person.write(odd, "1\n2\n")
    person.write("a\nb", "+++ x\n--- y\n")
    head = on(person, base, file=BODY.replace("line 3\n", "").replace("line 9\n", "nine\n"))
    found = repository.patch(base, head)
    assert set(found.paths) == {odd, "a\nb", "file"}
    assert (found.files, found.added, found.deleted) == (3, 5, 2)
    assert found.id.startswith("sha256:")


def test_every_kind_of_change_has_an_id_of_its_own(person: Any, repository: Repository) -> None:
    person.git("rm", "-q", "file")
    base = on(person, "HEAD", file=BODY, bin=b"\0one", tail="end\n", run="#!/bin/sh\n")
    ids: dict[str, str] = {}

    def note(name: str, change: Callable[[], object]) -> None:
        person.git("checkout", "-q", "--detach", base)
        change()
        head = person.commit(name)
        ids[name] = repository.patch(base, head).id

    path: Path = person.path
    link = f"160000,{base},sub"
    other = f"160000,{person.git('rev-parse', 'main')},sub"

    def gitlink(info: str) -> None:
        person.git("update-index", "--add", "--cacheinfo", info)
        (path / "sub").mkdir(exist_ok=True)

    def to_link() -> None:
        (path / "tail").unlink()
        (path / "tail").symlink_to("end\n")

    note("none", lambda: None)
    note("binary", lambda: person.write("bin", b"\0two"))
    note("binary 2", lambda: person.write("bin", b"\0three"))
    note("no newline", lambda: person.write("tail", "end"))
    note("blank", lambda: person.write("tail", "end\n\n"))
    note("space", lambda: person.write("tail", "end \n"))
    note("cr", lambda: person.write("tail", "end\r\n"))
    note("mode", lambda: (path / "run").chmod(0o755))
    note("empty file", lambda: person.write("void", ""))
    note("other empty file", lambda: person.write("void2", ""))
    note("new executable", lambda: person.write("void", "").chmod(0o755))
    note("removed", lambda: (path / "tail").unlink())
    note("renamed", lambda: (path / "tail").rename(path / "tail2"))
    note("to link", to_link)
    note("non-ascii", lambda: person.write("é", "1\n"))
    note("non-ascii 2", lambda: person.write("è", "1\n"))
    note("empty then change", lambda: person.write("file", BODY.replace("line 2\n", "two\n")))
    for name, info in (("gitlink", link), ("gitlink 2", other)):
        person.git("checkout", "-q", "--detach", base)
        gitlink(info)
        person.git("commit", "-q", "-m", name)
        ids[name] = repository.patch(base, person.git("rev-parse", "HEAD")).id
        (path / "sub").rmdir()
    assert len(set(ids.values())) == len(ids)


def test_configuration_and_attributes_do_not_change_it(person: Any, repository: Repository, tmp_path: Path) -> None:
    base = person.git("rev-parse", "HEAD")
    head = on(
        person,
        base,
        file=BODY.replace("line 3\n", "three  \n"),
        moved="x\n" * 50,
        **{"dot_gitattributes": "* -text -diff diff=x\n"},
    )
    before = repository.patch(base, head)
    for name, value in {
        "diff.context": "9",
        "diff.noprefix": "true",
        "diff.algorithm": "patience",
        "diff.renames": "copies",
        "diff.x.textconv": f"touch {tmp_path}/canary; cat",
        "diff.external": f"touch {tmp_path}/canary",
        "diff.interHunkContext": "9",
        "diff.suppressBlankEmpty": "true",
        "diff.orderFile": "/dev/null",
        "core.quotePath": "false",
        "diff.submodule": "log",
        "color.ui": "always",
    }.items():
        person.git("config", name, value)
    person.write(".git/info/attributes", "* -diff\n")
    assert person.open().patch(base, head) == before
    assert not (tmp_path / "canary").exists()


LINES = st.lists(
    st.sampled_from(["a", "b", "", " ", "-x", "+x", "@@ -1 +1 @@", "diff --git a/x b/x", "\\", "\r"]), max_size=12
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_same_patch_elsewhere_same_id_other_content_other_id(person: Any, data: st.DataObject) -> None:
    """The body is hashed by content: above it others may add any number of lines; the smallest other change counts."""
    repository = person.open()
    old, new, third = (data.draw(LINES) for _ in range(3))
    fence = ["=" * n for n in range(20, 26)]
    shift = [f"shift {n}" for n in range(data.draw(st.integers(1, 9)))]
    end = data.draw(st.sampled_from(["", "\n"]))
    assume(new not in (old, third) and old != third)

    def commit(*bodies: list[str]) -> list[str]:
        made: list[str] = []
        for lines in bodies:
            text = "\n".join(lines) + end
            blob = person.git("hash-object", "-w", "--stdin", input=text.encode())
            tree = person.git("mktree", input=f"100644 blob {blob}\tf\n".encode())
            made.append(repository.commit(tree, made[:1], "x"))
        return made

    base, head, other = commit(fence + old, fence + new, fence + third)
    moved, again = commit([*shift, *fence, *old], [*shift, *fence, *new])
    assert repository.patch(base, head).id == repository.patch(moved, again).id
    assert repository.patch(base, head).id != repository.patch(base, other).id
    assert repository.patch(base, head).id != repository.patch(head, base).id


def test_huge_diffs_are_whole_or_refused(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    head = on(person, base, big="x" * 99 + "\n" + "y\n" * 300_000)
    other = on(person, base, big="x" * 99 + "\n" + "y\n" * 299_999 + "z\n")
    assert repository.patch(base, head).added == 300_001
    assert repository.patch(base, head).id != repository.patch(base, other).id


def test_the_helper_counts_like_git(person: Any, repository: Repository) -> None:
    base = person.git("rev-parse", "HEAD")
    head = on(person, base, file=BODY[50:] + "x\n", g="1\n\n")
    numstat = subprocess.run(
        ["git", "diff", "--no-renames", "--numstat", base, head],
        cwd=person.path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [line.split("\t") for line in numstat.splitlines()]
    found = repository.patch(base, head)
    assert found.added == sum(int(row[0]) for row in rows)
    assert found.deleted == sum(int(row[1]) for row in rows)
