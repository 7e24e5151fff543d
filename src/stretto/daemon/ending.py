"""End what a daemon that is gone has left running: the lock is held for it, so that none starts meanwhile."""

from __future__ import annotations

import os

from stretto.daemon.backend import EngineBackend
from stretto.daemon.singleton import acquire, sweep
from stretto.home import Home


def end_all(home: Home) -> int:
    """End every agent, check and server of a home; how many shims lived. Nothing is begun.

    Raises Conflict (`daemon_running`) if a daemon has come meanwhile, StrettoError (`agents_left`) if some survived.
    """
    lock, _ = acquire(home)
    try:
        backend = EngineBackend(home)
        try:
            return backend.end_all()
        finally:
            backend.close()
    finally:
        sweep(home)
        os.ftruncate(lock, 0)  # it says who the daemon is, and that is nobody
        os.close(lock)
