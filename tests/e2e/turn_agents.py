"""The real programs that are run once for each turn: how each is led to the model server and told to edit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.real_agents import Kind, RealStage, without
from tests.support.world import ROOT

MODEL = "mock-model"


def program(name: str) -> Callable[[], Path]:
    """What gives the program that `scripts/install-agents NAME` installs; STRETTO_NAME names another."""

    def find() -> Path:
        path = Path(os.environ.get(f"STRETTO_{name.upper()}") or ROOT / ".cache" / name / name)
        if not os.access(path, os.X_OK):
            pytest.skip(f"no {name} program at {path}: run `make agents-all`")
        return path

    return find


def _openai(base: str, **more: str) -> Callable[[Path, str], dict[str, str]]:
    def environment(home: Path, url: str) -> dict[str, str]:
        home.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"], "OPENAI_API_KEY": "dummy"}
        return {**own, base: f"{url}/v1", **more}

    return environment


def _markers(path: str, text: str) -> str:
    return f'[[write path={path} text="{text}\\n"]]'


def _handed_in(path: str, text: str) -> str:
    """mini ends by a command; what it says is nothing to it."""
    return f"{_markers(path, text)} [[sh=echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT]]"


def _whole_file(path: str, text: str) -> str:
    """aider has no tools: the whole file stands in the answer."""
    return f"[[bare]] [[say=\n{path}\n```\n{text}\n```\n]]"


@dataclass(frozen=True)
class Turns(Kind):
    """`edit`: a path and a text -> what makes it write that file. `calls`: requests to a model that this needs."""

    edit: Callable[[str, str], str] = _markers
    calls: int = 2
    #: whether it tells which tokens came from a cache, and which were for reasoning
    details: bool = True


def _kind(name: str, model: str, environment: Callable[[Path, str], dict[str, str]], folders: set[str]) -> Kind:
    return Kind(name, model, program(name), environment, lambda record: "", b"", frozenset(folders), free="skip")


def _turns(kind: Kind, **more: object) -> Turns:
    return Turns(**{**{name: getattr(kind, name) for name in kind.__dataclass_fields__}, **more})


KINDS: dict[str, Turns] = {
    "qwen": _turns(
        _kind("qwen", MODEL, _openai("OPENAI_BASE_URL"), {".qwen", ".npm"}),
        arguments=lambda url: ("--auth-type", "openai"),
        passes=without("garbage=1"),
        breaks=("garbage=1",),
        gives_up=False,
    ),
    "aider": _turns(
        _kind("aider", f"openai/{MODEL}", _openai("OPENAI_API_BASE"), {".aider"}),
        edit=_whole_file,
        full="token limit",
        calls=1,
        details=False,
    ),
    "mini": _turns(
        _kind("mini", f"openai/{MODEL}", _openai("OPENAI_API_BASE"), {".config", ".local", ".cache"}),
        edit=_handed_in,
    ),
}


def chosen() -> list[str]:
    """Those that are to be tested: the ones that STRETTO_AGENTS names, else all; one that is missing is a skip."""
    return [name for name in os.environ.get("STRETTO_AGENTS", "").split() if name in KINDS] or list(KINDS)


class TurnStage(RealStage):
    """The words of the tests for these."""

    kind: Turns

    def story(self) -> str:
        said = [path.read_text(errors="replace")[-1500:] for path in sorted(self.home.sessions.glob("*/out.0*"))]
        return "\n".join([super().story(), *said])

    def names(self, id: str) -> set[str]:
        return {id}

    def told_usage(self, id: str) -> tuple[dict[str, int], dict[str, int]]:
        """What was counted and what was served; of one that tells no details, as it can tell it."""
        counted, served = self.counted(id), self.served_usage(id)
        if not self.kind.details:
            served["input"] += served.pop("cache_read")
            served |= {"cache_read": 0, "reasoning": 0}
        return counted, served

    def usage_is_right(self, id: str) -> dict[str, int]:
        counted, served = self.told_usage(id)
        assert counted == served, f"counted {counted}, served {served}"
        return counted
