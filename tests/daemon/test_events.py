"""The event stream: replay, follow, reconnect, slow readers."""

from __future__ import annotations

import itertools
import time
from typing import Any

import psutil
import pytest

from stretto.client import Client, NoDaemon
from stretto.home import Home
from tests.daemon.conftest import Start
from tests.support.waiting import wait_for


def take(client: Client, since: int, count: int) -> list[dict[str, Any]]:
    stream = client.events(since, patience=None)
    return list(itertools.islice((event for event in stream if event), count))


def test_replay_then_follow(client: Client) -> None:
    client.call("add", count=450, text="x")
    stream = (event for event in client.events(0) if event)
    ids = [next(stream)["id"] for _ in range(450)]
    assert ids == list(range(1, 451))
    client.call("add", count=1, text="ä\n\r ")
    event = next(stream)
    assert (event["id"], event["data"]["text"]) == (451, "ä\n\r ")
    assert take(client, 449, 2)[0]["id"] == 450


def test_an_event_arrives_at_once(client: Client) -> None:
    stream = client.events(0)
    next(stream)
    delays = []
    for _ in range(20):
        began = time.monotonic()
        client.call("add")
        next(event for event in stream if event)
        delays.append(time.monotonic() - began)
    assert sorted(delays)[10] < 0.5


def test_a_broken_connection_goes_on_where_it_was(start: Start, open_one: Home) -> None:
    client, first = Client(open_one), start()
    client.call("add", count=3)
    stream = client.events(0, patience=None)
    ids = [event["id"] for event in itertools.islice((e for e in stream if e), 3)]
    first.kill()
    first.wait()
    start()
    client.call("add", count=5)  # the fake forgets; the table of the real one does not
    ids += [event["id"] for event in itertools.islice((e for e in stream if e), 2)]
    assert ids == [1, 2, 3, 4, 5]


def test_no_daemon_is_told(open_one: Home) -> None:
    with pytest.raises(NoDaemon):
        next(Client(open_one).events(0))
    assert next(Client(open_one).events(0, patience=None)) is None


def test_a_slow_reader_costs_little_and_loses_nothing(client: Client, open_one: Home) -> None:
    told = client.ping()
    assert told is not None
    for _ in range(20):
        client.call("add", count=100, text="x" * 1000, times=20)  # 40 MB in all, held by the fake as references
    process = psutil.Process(told["pid"])
    before = process.memory_info().rss
    stream = client.events(0)
    next(stream)
    seen: list[tuple[float, int]] = []

    def stands_still() -> bool:
        """It has filled the socket's buffer and waits for us: neither its time nor its memory grows any more."""
        seen.append((sum(process.cpu_times()[:2]), process.memory_info().rss))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_for(stands_still)
    assert process.memory_info().rss - before < 20_000_000, "the 40 MB that are still to be read wait where they are"
    assert client.ping(), "others are served meanwhile"
    ids = [event["id"] for event in itertools.islice((e for e in stream if e), 2000)]
    assert ids == list(range(1, 2001))


def test_streams_that_went_are_forgotten(client: Client, open_one: Home) -> None:
    told = client.ping()
    assert told is not None
    process = psutil.Process(told["pid"])
    wait_for(lambda: process.num_fds() > 0)
    before = process.num_fds()
    streams = [client.events(0) for _ in range(20)]
    for stream in streams:
        next(stream)
    wait_for(lambda: process.num_fds() >= before + 19)  # the connection of the ping may have been among those before
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    wait_for(lambda: process.num_fds() <= before + 1)
    assert open_one.default_socket.exists()


@pytest.mark.parametrize("since", ["x", "-1", "9" * 30])
def test_a_bad_cursor_is_refused(client: Client, since: str) -> None:
    with pytest.raises(Exception, match="since must be a number"):
        next(client.events(since))  # type: ignore[arg-type]
