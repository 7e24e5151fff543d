"""Agents in panes as one suite sees them: how each asks there, and what a test looks at and types."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stretto.core.errors import StrettoError
from stretto.terminal.tmux import Terminal
from tests.e2e.real_agents import Json, RealStage
from tests.e2e.test_attach import LEAVE, Screen

#: seconds: an interface of 600 MB takes its time on a machine that does much else
PATIENCE = 240.0
#: seconds after which words that do not stand there are lost
LOST = 15.0
#: how a terminal is taken for a whole screen: before that, its keys are lost
_WHOLE = b"\x1b[?1049h"
#: what interfaces draw around words
_DRAWN = re.compile(r"[\s│┃▌█]+")


@dataclass(frozen=True)
class Face:
    """What differs between the interfaces. `asking`: a command it asks for; `asked`: what the inbox shows of it."""

    asking: str = "[[sh={0}]]"
    asked: str = "{0}"
    #: whether a refusal ends its turn
    no_ends: bool = False
    #: whether a question takes words that are no option
    words: bool = True
    #: whether a message waits for a draft: not where it goes another way than through the composer
    composer: bool = True
    #: what its composer makes of a tab
    tab: str = "\t"
    #: whether it takes what stands behind an @ for a file, whose name it writes as it found it
    mentions: bool = False
    #: whether it takes rules
    rules: bool = True
    #: flags that differ where it has to ask
    instead: tuple[str, str] = ("", "")


FACES = {
    "claude": Face(no_ends=True, words=False, tab="    "),
    "codex": Face(  # it asks only when it wants to leave its sandbox
        asking='[[tool exec_command {{"cmd": "{0}", "sandbox_permissions": "require_escalated", '
        '"justification": "why"}}]]',
        asked="command: {0} (why)",
        no_ends=True,
        instead=('sandbox_mode=\\"danger-full-access\\"', "hide_agent_reasoning=true"),
    ),
    "pi": Face(asked="bash: {0}", tab="    "),
    "opencode": Face(asked="bash: {0}", composer=False),
    "gemini": Face(no_ends=True, words=False, mentions=True, rules=False),
}


def squeezed(text: str) -> str:
    """A text as a screen shows it, whatever its width and its frames."""
    return _DRAWN.sub("", text)


@dataclass
class PaneStage(RealStage):
    """The same words for sessions in panes, with more patience."""

    screens: list[Screen] = field(default_factory=list)

    @property
    def face(self) -> Face:
        return FACES[self.kind.name]

    # ------------------------------------------------------------ configuration and plan

    def configure(
        self, permissions: str | None = None, command: list[str] | None = None, more: str = "", **env: str
    ) -> None:
        super().configure(permissions, command, more, **env)
        if self.kind.name == "claude":
            self.known()
        if permissions == "ask" and self.face.instead[0]:
            toml = self.repo.path / "stretto.toml"
            toml.write_text(toml.read_text().replace(*self.face.instead))
            self.repo.git("commit", "-q", "-a", "-m", "Ask")

    def known(self) -> None:
        """What a person has who has used claude here before: no first steps, a known key, a trusted folder."""
        folder = self.folder / "agent-home" / ".claude"
        folder.mkdir(parents=True, exist_ok=True)
        told = {
            "hasCompletedOnboarding": True,
            "customApiKeyResponses": {"approved": ["dummy"], "rejected": []},
            "projects": {str(self.repo.path): {"hasTrustDialogAccepted": True}},
        }
        (folder / ".claude.json").write_text(json.dumps(told))

    def run(self, *tasks: str, checks: str = '["true"]', approve: str = "human", words: tuple[str, ...] = ()) -> Json:
        return super().run(*tasks, checks=checks, approve=approve, words=("--mode", "pane", *words))

    def run_in_stream(self, *tasks: str) -> Json:
        """The same without a pane."""
        return RealStage.run(self, *tasks)

    # ------------------------------------------------------------ looks

    def prompts(self, session: str) -> list[str]:
        return [json.loads(r["data"])["turn"] for r in self.records(session) if r["kind"] == "turn"]

    def session(self, id: str) -> str:
        """The newest session of a task."""
        return str(self.told(id)["sessions"][-1]["id"])

    def tmux(self, session: str, *words: str) -> str:
        """What the tmux of a session answers. Asked before that stands, tmux would start a server for us."""
        socket = Path(json.loads((self.home.sessions / session / "pane.json").read_text())["socket"])
        if not socket.with_name("ready").exists():
            raise FileNotFoundError(socket)
        terminal = Terminal(socket, os.environ)
        try:
            return terminal.command(*words)
        finally:
            terminal.close()

    def screen(self, id: str) -> str:
        """What the newest session's pane shows; nothing while it is not there."""
        try:
            return self.tmux(self.session(id), "capture-pane", "-p")
        except (StrettoError, OSError):
            return ""

    def shows(self, id: str, word: str) -> bool:
        return squeezed(word) in squeezed(self.screen(id))

    def ready(self, id: str) -> bool:
        """Whether the newest session waits for words, as its host has said."""
        return b'"idle"' in self.output(self.session(id))

    def story(self) -> str:
        shown = []
        for folder in self.home.sessions.iterdir():
            try:
                shown.append(f"{folder.name}:\n{self.tmux(folder.name, 'capture-pane', '-p')}")
            except Exception as error:  # it may be gone; the failure itself matters more
                shown.append(f"{folder.name}: {error}")
        return "\n".join([super().story(), *shown])

    # ------------------------------------------------------------ the person at the terminal

    def attach(self, id: str) -> Screen:
        """A terminal of the person that shows the newest session, ready for keys."""
        screen = Screen(("attach", id), self.repo.path, {})
        self.screens.append(screen)
        screen.shows(_WHOLE, PATIENCE)
        return screen

    def leave(self, screen: Screen) -> None:
        screen.keys(LEAVE)
        assert screen.ends() == 0

    def end(self, home: Path) -> None:
        for screen in self.screens:
            if screen.process.poll() is None:  # a test that failed has left it open
                screen.process.kill()
                screen.process.wait(20)
        super().end(home)

    def type(self, id: str, screen: Screen, text: str) -> None:
        """Type words, until they stand there: an interface that has just begun may lose them, as a person sees."""

        typed = 0.0

        def stands() -> bool:
            nonlocal typed
            if self.shows(id, text[-12:]):
                return True
            if time.monotonic() > typed + LOST and not self.shows(id, text[:12]):
                typed = time.monotonic()
                screen.keys(text.encode())
            return False

        self.wait(stands)

    # ------------------------------------------------------------ waiting

    def wait(self, what: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        return super().wait(what, max(timeout, PATIENCE))

    def wait_item(self, kind: str, timeout: float = PATIENCE) -> Any:
        return super().wait_item(kind, PATIENCE)

    def wait_state(self, id: str, *states: str, timeout: float = PATIENCE) -> Any:
        return super().wait_state(id, *states, timeout=PATIENCE)
