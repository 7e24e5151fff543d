import sqlite3
from importlib import resources

import pytest

from stretto.core.errors import StrettoError
from stretto.core.model import Delivery, Event, Item, ItemKind, Kind, Message, MessageKind, Origin, Run, Task
from stretto.store.facts import load
from stretto.store.sqlite import SCHEMA, Store, open_readonly

RUN = Run(
    id="demo-abcd",
    repo="/r/.git",
    root="/r",
    title="Demo",
    context="",
    plan_path=None,
    plan_text="",
    base="0" * 40,
    target="main",
    agent="scripted",
    open_limit=2,
    approve="human",
    pin_base=False,
    push=False,
    checkout="leave",
    config={"checks": [{"name": "unit", "run": "true"}]},
    env={"PATH": "/bin"},
    paused=False,
    created_at=1.0,
)


def task(id: str = "one", **changes) -> Task:
    values = {
        "uid": f"demo-abcd/{id}",
        "run": "demo-abcd",
        "repo": "/r/.git",
        "id": id,
        "position": 0,
        "title": "One",
        "spec": "do it",
        "accept": "it is done",
        "kind": Kind.FEATURE,
        "role": "implementer",
        "needs": (),
        "files": ("a/**",),
        "tables": (),
        "priority": 0,
        "lands": True,
        "fields": {},
        "created_at": 1.0,
    }
    return Task(**{**values, **changes})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "stretto.db", lambda: 1000.0)
    yield store
    store.close()


def test_values_come_back_as_they_went_in(store):
    with store.write() as tx:
        tx.insert(RUN)
        tx.insert(task())
        tx.insert(
            Message(
                task="demo-abcd/one",
                n=1,
                kind=MessageKind.TURN,
                origin=Origin.START,
                text="é\n",
                state=Delivery.QUEUED,
                created_at=1.0,
            )
        )
        tx.insert(
            Item(
                id="q1",
                task="demo-abcd/one",
                kind=ItemKind.QUESTION,
                key="k",
                text="?",
                options=(("1", "yes"), ("2", "no")),
                payload={"a": [1]},
                opened_at=1.0,
            )
        )
    with store.read() as db:
        (facts,) = load(db, db.select(Task), now=0.0)
    assert facts.task == task()
    assert facts.run == RUN
    assert facts.messages[0].text == "é\n"
    assert facts.items[0].options == (("1", "yes"), ("2", "no"))
    assert [s.run for s in facts.specs] == ["true"]


def test_half_of_a_pair_of_surrogates_becomes_a_mark(store):
    cut = "cut \ud83d here"
    with store.write() as tx:
        tx.insert(RUN)
        tx.insert(task(title=cut, fields={"said": [cut]}))
        tx.event("session.notice", run=RUN.id, text=cut)
    with store.read() as db:
        (kept,) = db.select(Task)
        (event,) = db.select(Event)
    assert (kept.title, kept.fields, event.data["text"]) == (
        "cut \ufffd here",
        {"said": ["cut \ufffd here"]},
        kept.title,
    )


def test_a_failed_transaction_leaves_nothing(store):
    def fail():
        with store.write() as tx:
            tx.insert(RUN)
            tx.event("run.created", run=RUN.id)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with store.read() as db:
        assert db.select(Run) == []
        assert db.cursor == 0


def test_listeners_hear_the_last_event_after_the_commit(store):
    heard = []
    stop = store.listen(lambda last: heard.append((last, len(store.events(0)))))
    with store.write() as tx:
        tx.event("a")
        tx.event("b")
    assert heard == [(2, 2)]
    stop()
    with store.write() as tx:
        tx.event("c")
    assert heard == [(2, 2)]
    assert [e.type for e in store.events(1)] == ["b", "c"]


def test_a_newer_schema_is_refused_and_kept(tmp_path):
    path = tmp_path / "stretto.db"
    Store(path, lambda: 0.0).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    with pytest.raises(StrettoError) as caught:
        Store(path, lambda: 0.0)
    assert caught.value.code == "newer_schema"
    with pytest.raises(StrettoError) as caught:
        open_readonly(path)
    assert caught.value.code == "newer_schema"


def test_a_damaged_database_is_refused_and_kept(tmp_path):
    path = tmp_path / "stretto.db"
    store = Store(path, lambda: 0.0)
    with store.write() as tx:
        for n in range(300):
            tx.event("filler", text="x" * 400, n=n)
    store.close()
    content = bytearray(path.read_bytes())
    for at in range(8192, len(content), 4096):
        content[at : at + 600] = b"\xff" * 600
    path.write_bytes(content)
    with pytest.raises(StrettoError) as caught:
        Store(path, lambda: 0.0)
    assert caught.value.code == "database_corrupt"
    assert path.read_bytes() == bytes(content)


def test_a_reader_without_a_daemon_sees_what_is_committed(store, tmp_path):
    with store.write() as tx:
        tx.insert(RUN)
    db = open_readonly(tmp_path / "stretto.db")
    assert db.select(Run) == [RUN]
    with pytest.raises(sqlite3.OperationalError):
        db.connection.execute("DELETE FROM runs")
    db.connection.close()


def test_a_reader_of_an_older_database_sees_it_as_it_will_be_and_changes_nothing(tmp_path):
    path = tmp_path / "stretto.db"
    connection = sqlite3.connect(path)
    folder = resources.files("stretto.store") / "migrations"
    first = sorted(folder.iterdir(), key=lambda file: file.name)[0]
    connection.executescript(f"{first.read_text()}; PRAGMA user_version = 1")
    connection.execute("INSERT INTO events (at, type, data) VALUES (1.0, 'old', '{}')")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    db = open_readonly(path)
    assert db.value("PRAGMA user_version") == SCHEMA
    assert db.select(Message) == []
    assert [event.type for event in db.select(Event)] == ["old"]
    db.connection.close()
    assert path.read_bytes() == before


def test_a_database_that_is_just_being_made_holds_nothing_yet(tmp_path):
    path = tmp_path / "stretto.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    with pytest.raises(StrettoError) as refused:
        open_readonly(path)
    assert refused.value.code == "empty"
