"""`python -m stretto.daemon`: be the daemon of `STRETTO_HOME`. Started by `stretto up` and by whoever needs it."""

from __future__ import annotations

import json
import sys

from stretto.core.errors import StrettoError
from stretto.daemon.api import Backend
from stretto.home import Home, home_path, open_home


def main() -> int:
    """Serve until told to stop; 1 with a sentence on stderr if that is not possible, 3 for a failure of ours."""
    from stretto.daemon.server import serve

    try:
        serve(open_home(), _backend)
    except StrettoError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error.message}{hint}\n")
        if not sys.stderr.isatty():
            # for who started us: launch.py tells it as its own
            sys.stderr.write(json.dumps({"error": error.as_json(), "exit_code": error.exit_code}) + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # the edge: whatever it is becomes a report
        from stretto.bugreport import write_report

        path = write_report(home_path() / "logs" / "reports", error, "daemon")
        sys.stderr.write(f"error: the daemon failed: {type(error).__name__}: {error}\nhint: the report is in {path}\n")
        return 3
    return 0


def _backend(home: Home) -> Backend:
    from stretto.daemon.backend import EngineBackend

    return EngineBackend(home)


if __name__ == "__main__":
    sys.exit(main())
