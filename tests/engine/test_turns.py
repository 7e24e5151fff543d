"""Programs without a protocol through a whole engine: their tables in stretto.toml, their usage, their lies."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import TurnResult, Usage
from stretto.reads.shapes import usage_of
from tests.engine.spine import Spine, plan, running, task, turns, write

#: takes its message from a file that is named to it, leaves a ledger, and may lie about how it went
TOOL = """
import json, pathlib, sys
message, ledger = (pathlib.Path(word) for word in sys.argv[1:3])
text = message.read_text()
name = "one" if "Do one" in text else "two"
for n in (1, 2):
    with ledger.open("a") as file:
        file.write(json.dumps({"id": n, "tokens": {"in": 100, "cached": 40, "out": 7}, "by": "tiny"}) + "\\n")
if "Do two" in text:
    print("vendor error: " + pathlib.Path(sys.argv[3]).read_text())
else:
    pathlib.Path(f"{name}.txt").write_text(name)
print("done with " + name)
"""
TABLE = """schema = 1
[agents.tool]
type = "command"
command = [{python}, {tool}]
prompt = ["{{file}}", "{{folder}}/ledger.jsonl"]
args = [{reason}]
[agents.tool.usage]
from = "{{folder}}/ledger.jsonl"
id = "id"
model = "by"
input = "tokens.in"
cache_read = "tokens.cached"
output = "tokens.out"
cached = "inside"
[agents.tool.fails]
pattern = "^vendor error: (?P<reason>.*)"
"""


@pytest.fixture
def spine(home, make_repo, tmp_path) -> Iterator[Spine]:
    repo = make_repo("repo", {"README.md": "hello\n"})
    with running(repo, tmp_path) as spine:
        yield spine


def configure(spine: Spine, reason: str, table: str = TABLE) -> None:
    tool, why = spine.folder / "tool.py", spine.folder / "reason"
    tool.write_text(TOOL)
    why.write_text(reason)
    words = {"python": json.dumps(sys.executable), "tool": json.dumps(str(tool)), "reason": json.dumps(str(why))}
    (spine.repo.path / "stretto.toml").write_text(table.format(**words))
    spine.repo.git("add", "-A")
    spine.repo.git("commit", "-q", "-m", "Configure")


def used(spine: Spine, id: str) -> Usage:
    uid = spine.task(id).uid
    with spine.engine.store.read() as db:
        return usage_of(db, "task", [uid]).get(uid, Usage())


def test_a_table_adds_an_agent_whose_usage_is_counted_and_whose_lies_are_seen(spine: Spine) -> None:
    configure(spine, "the key is refused")
    spine.run(plan(task("one"), task("two")), agent="tool", approve="human", open=2)
    spine.wait(lambda: {i.kind.value for i in spine.items()} == {"review", "failure"})
    assert used(spine, "one") == used(spine, "two") == Usage(120, 14, 80)
    (told,) = spine.messages("two")
    assert (told.result, told.reason) == (TurnResult.FAILED, "the key is refused"), "its exit code was 0"
    assert "vendor error" in told.output
    assert '"stretto"' not in told.output
    with spine.engine.store.read() as db:
        assert {row["model"] for row in db.rows("SELECT model FROM usage")} == {"tiny"}
        assert {row["n"] for row in db.rows("SELECT n FROM usage")} == {spine.messages("one")[0].n}


def test_not_now_is_told_by_words_as_by_an_exit_code(spine: Spine) -> None:
    more = '[agents.spare]\ncommand = ["sh", "-c", "echo spare > spare.txt"]\n'
    more += '[roles.implementer]\nagent = "tool"\nfallback = ["spare"]\n'
    configure(spine, "429, come back later", TABLE + more)
    spine.run(plan(task("two")))
    assert spine.wait_over() == {"two": "landed"}
    assert spine.messages("two")[0].result is TurnResult.LIMITED
    assert spine.session("two").agent == "spare"
    assert used(spine, "two") == Usage(120, 14, 80), "what the limited one used stays counted"


def test_what_the_table_says_has_to_be_trusted(spine: Spine) -> None:
    configure(spine, "")
    with pytest.raises(StrettoError, match="not been trusted") as found:
        spine.run(plan(task("one")), agent="tool", trust=False)
    assert any("how it is run and read" in str(one) for one in found.value.details["commands"])


def test_a_nul_in_words_reaches_nobody(spine: Spine) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]}
    words = {"approve": "human", "trust": True, "checkout": "leave", "fetch": False, "env": env}
    tool = 'command:sh -c "echo 1 >> one.txt"'
    spine.call("add", text="Do\0 one\nIt is\0 small", agent=tool, **words)
    item = spine.wait_item("review")
    (row,) = spine.tasks()
    assert row.title == "Do one"
    spine.call("send", task=row.id, text="mo\0re")
    spine.wait(lambda: any(i.kind.value == "review" and i.id != item.id for i in spine.items()))
    texts = [message.text for message in spine.messages(row.id)]
    assert "more" in texts[-1]
    assert "\0" not in "".join(texts)


def test_relative_paths_of_agents_start_at_the_repository_whatever_folder_the_daemon_is_in(spine: Spine) -> None:
    table = '[agents.own]\ncommand = ["./own.sh"]\n[agents.player]\ntype = "scripted"\ncommand = ["script.json"]\n'
    script = json.dumps({"tasks": {"two": turns([write("two.txt", "2\n")])}})
    spine.repo.write({"own.sh": "#!/bin/sh\necho 1 > one.txt\n", "script.json": script, "stretto.toml": table})
    (spine.repo.path / "own.sh").chmod(0o755)
    spine.repo.commit("Agents of its own")
    spine.run(plan(task("one", agent="own"), task("two", agent="player")))
    assert spine.wait_over() == {"one": "landed", "two": "landed"}
