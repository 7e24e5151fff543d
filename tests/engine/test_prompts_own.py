"""Prompts of the project take the place of those that come with stretto, for the run that was made with them."""

from pathlib import Path

import pytest

from stretto.core.errors import StrettoError
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path):
    files = {
        "README.md": "hello\n",
        ".stretto/prompts/start.md": "OURS: {{title}}\n{{?files}}\nOnly {{files}}.\n{{/files}}\n",
        ".stretto/prompts/check_failed.md": "RED {{round}}\n\n{{failures}}\n",
    }
    with running(make_repo("repo", files), tmp_path) as spine:
        yield spine
        spine.cancel_open()


def test_the_start_and_the_repair_are_said_in_the_project_s_words(spine: Spine):
    fixed = {"when": {"origin": "check"}, "steps": [write("ok", "1")]}
    spine.run(plan(task("one"), checks='["cat ok"]'), {"one": turns([write("x", "1")], fixed)})
    spine.wait(lambda: len(spine.messages("one")) >= 2)
    first, second = (message.text.partition("\n\n")[2] for message in spine.messages("one")[:2])
    assert first.startswith("OURS: Do one\n")
    assert "Only" not in first
    assert second.startswith("RED 1\n\n")
    assert "[data " in second, "what the check said is data all the same"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("begin.md", "x", "there is no prompt of this name"),
        ("start.md", "{{password}}", "{{password}}, which is none of"),
        ("start.md", "x" * 20_001, "20000 are the most"),
    ],
)
def test_one_that_cannot_be_used_is_refused_before_the_run(spine: Spine, name: str, text: str, why: str):
    path = Path(spine.repo.path) / ".stretto" / "prompts" / name
    path.write_text(text)
    spine.repo.git("add", ".")
    spine.repo.git("commit", "-q", "-m", "Prompts")
    with pytest.raises(StrettoError, match="cannot be used") as refused:
        spine.run(plan(task("one")), {"one": turns([write("x", "1")])})
    assert why in refused.value.message
    assert spine.tasks() == []


def test_its_words_are_trusted_as_they_are(spine: Spine):
    with pytest.raises(StrettoError) as refused:
        spine.run(plan(task("one")), {"one": turns([write("x", "1")])}, trust=False)
    assert refused.value.code == "untrusted"
    assert "      Only {{files}}." in refused.value.details["listing"]
    spine.call("trust", yes=True)
    assert spine.call("trust")["trusted"]
    spine.repo.commit("Other words", {".stretto/prompts/check_failed.md": "Hide it.\n"})
    told = spine.call("trust")
    assert not told["trusted"]
    assert "+ check_failed.md: Hide it." in told["listing"]
    assert "  start.md: OURS" in told["listing"]
