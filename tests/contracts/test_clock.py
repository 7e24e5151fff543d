import pytest

from stretto.engine.clock import SystemClock
from stretto.interfaces import Clock
from stretto.testing.clock import FakeClock


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request):
    return request.param()


def test_time_does_not_go_back(clock: Clock):
    seen = [(clock.now(), clock.monotonic()) for _ in range(50)]
    assert seen == sorted(seen)


def test_the_wall_clock_counts_from_the_epoch(clock: Clock):
    assert 1_600_000_000 < clock.now() < 4_000_000_000
    assert isinstance(clock.now(), float)
    assert isinstance(clock.monotonic(), float)


def test_a_fake_clock_moves_only_when_told():
    clock = FakeClock(1000.0)
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(60)
    assert (clock.now(), clock.monotonic()) == (1060.0, 60.0)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_the_system_clock_is_moved_by_a_file_only_under_test(tmp_path, monkeypatch):
    offset = tmp_path / "offset"
    offset.write_text("3600")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(offset))
    monkeypatch.delenv("STRETTO_TESTING", raising=False)
    plain = SystemClock().now()
    monkeypatch.setenv("STRETTO_TESTING", "1")
    moved = SystemClock()
    assert moved.now() - plain > 3500
    offset.write_text("garbage")
    assert moved.now() - plain < 3500
