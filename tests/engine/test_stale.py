"""What a pass decided from old facts must not be done again."""

from dataclasses import replace
from pathlib import Path

import pytest

from stretto.core.actions import Deliver
from stretto.core.model import Delivery
from stretto.engine.acts import session
from stretto.store.facts import load
from tests.engine.spine import Spine, plan, running, task, turns, write


@pytest.fixture
def spine(home, make_repo, tmp_path):
    with running(make_repo("repo", {"README.md": "hello\n"}), tmp_path) as spine:
        yield spine


def test_a_message_is_sent_once_however_old_the_facts_are(spine: Spine):
    spine.run(plan(task("one")), {"one": turns([write("x", "1"), {"hang": True}])})
    spine.wait(lambda: spine.events("message.delivered"))
    with spine.engine.store.read() as db:
        facts = load(db, [spine.task("one")], now=0.0)[0]
    old = replace(facts.messages[0], state=Delivery.QUEUED, number=None, session=None)
    session.deliver(spine.engine.parts, replace(facts, messages=(old,)), Deliver(n=old.n))
    assert facts.session is not None
    records = (Path(facts.session.folder) / "in.jsonl").read_text().splitlines()
    assert len(records) == 1
