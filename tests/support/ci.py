"""In CI a skipped test is a failure, and so is a kind of test that did not run: what cannot run proves nothing."""

from __future__ import annotations

import os

import pytest

#: kinds of test that a run of everything must contain
KINDS = ("e2e", "faults", "claude", "pi")


class Strict:
    """With STRETTO_CI=1 any skip, of a test or of a whole file, turns the session red and is named."""

    def __init__(self, config: pytest.Config) -> None:
        self.complaints: list[str] = []
        self.missing = set(KINDS) if _everything(config) else set()

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.missing.difference_update(report.keywords)
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)
        if report.failed:  # at once: the summary of a run that is cut off at its limit is never written
            lines = report.longreprtext.strip().splitlines()
            print(f"\nfailed in its {report.when}: {report.nodeid}: {lines[-1] if lines else ''}", flush=True)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self.complaints += [f"no test that is marked {kind} ran" for kind in sorted(self.missing)]
        if self.complaints and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.complaints:
            terminalreporter.section("not run, which CI counts as a failure", red=True)
            for line in self.complaints:
                terminalreporter.line(line, red=True)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self.complaints.append(f"{report.nodeid}: {reason}")


def _everything(config: pytest.Config) -> bool:
    """Whether the run was asked for no part of the tests."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return whole and not config.getoption("keyword") and not config.getoption("markexpr")


def wanted(config: pytest.Config) -> bool:
    """Whether this process reports to the person (a worker of xdist does not) and CI's strictness is asked for."""
    return os.environ.get("STRETTO_CI") == "1" and not hasattr(config, "workerinput")
