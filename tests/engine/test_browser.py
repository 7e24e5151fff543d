"""Each workspace has a browser of its own: real Chromiums of two tasks and of the gate, at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stretto import proctree
from stretto.core.model import Check
from tests.engine.spine import Spine, plan, running, task, turns, write
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")

CONFIG = """
[workspace]
browser = "port"
env = { MEETING = "MEETING-PLACE" }
[workspace.ports]
web = 0
[workspace.serve.web]
run = "exec python3 serve.py"
port = "web"
ready = "/"
[checks]
e2e = { run = "python3 e2e.py", serve = ["web"] }
"""
#: sets a cookie of its own task; the page's title says whose it is and which cookies the browser has
SERVE = """
import http.server
import os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        task = os.environ["STRETTO_TASK"]
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", f"visited-{task}=yes; Max-Age=3600; Path=/")
        self.end_headers()
        self.wfile.write(
            f"<title>wait</title><script>document.title = '{task}|' + document.cookie</script>".encode()
        )

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""
#: opens the page, waits until the other task has a browser open too, and says what the title is
E2E = """
import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

def until(what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("waited in vain")

def title():
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = [one for one in json.load(answer) if one["type"] == "page"]
    return pages[0]["title"] if pages and "|" in pages[0]["title"] else None

task, gate = os.environ["STRETTO_TASK"], os.environ["STRETTO_PURPOSE"] == "gate"
profile, port = os.environ["STRETTO_BROWSER_PROFILE"], os.environ["STRETTO_BROWSER_PORT"]
meeting = Path(os.environ["MEETING"])
Path(os.environ["STRETTO_ARTIFACTS"], "note.txt").write_text(task)
words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
words += [f"--user-data-dir={profile}", f"--remote-debugging-port={port}", f"http://127.0.0.1:{os.environ['PORT_WEB']}/"]
seen = []
for visit in (1,) if gate else (1, 2):
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen.append(until(title))
    if not gate:
        (meeting / f"{task}-{visit}").touch()
        until(lambda: len(list(meeting.glob(f"*-{visit}"))) == 2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version") as answer:
        assert json.load(answer)["Browser"].startswith(("Chrome", "HeadlessChrome"))
    running.terminate()
    running.wait()
print(json.dumps(seen))
assert all(one == f"{task}|visited-{task}=yes" for one in seen), seen
"""


@pytest.fixture
def spine(home: Path, make_repo: Any, tmp_path: Path) -> Iterator[Spine]:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    files = {"stretto.toml": CONFIG.replace("MEETING-PLACE", str(meeting)), "serve.py": SERVE, "e2e.py": E2E}
    with running(make_repo("repo", {"README.md": "hello\n", **files}), tmp_path) as spine:
        yield spine


def checks(spine: Spine) -> list[Check]:
    with spine.engine.store.read() as db:
        return db.select(Check, "1 ORDER BY id")


def using(folder: Path) -> list[str]:
    """Command lines of the processes that name something below this folder."""
    found = []
    for pid in proctree.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words)
    return found


def test_two_tasks_are_tested_in_browsers_of_their_own_at_once(spine: Spine) -> None:
    text = plan(task("one"), task("two")).replace('checks: ["true"]\n', "")
    spine.run(text, {id: turns([write(f"{id}.txt", id)]) for id in ("one", "two")}, open=2)
    outcome = spine.wait_over(180)
    said = {(c.purpose, c.task.rpartition("/")[2]): Path(str(c.output)).read_text() for c in checks(spine)}
    assert set(outcome.values()) == {"landed"}, said
    for id in ("one", "two"):
        assert json.loads(said["task", id].splitlines()[-1]) == [f"{id}|visited-{id}=yes"] * 2
    spine.wait(lambda: all(t.cleaned for t in spine.tasks()))
    folder = spine.repo.path.parent / "repo.worktrees"
    assert proctree.marked(f"STRETTO_CHECK_HOME={spine.engine.home.path}") == []
    wait_for(lambda: using(folder / ".stretto" / "browsers") == [], what="the last helper of a browser to end")


def test_what_a_check_leaves_is_listed_with_it_and_goes_with_a_purge(spine: Spine) -> None:
    check = json.dumps(['printf shot > "$STRETTO_ARTIFACTS/shot.png"; exit 1'])
    spine.run(plan(task("one"), checks=check), {"one": turns([write("one.txt", "1")] * 1)}, approve="human")
    spine.wait(lambda: any(c.result is not None for c in checks(spine)))
    for verb in ("logs", "task"):
        (first, *_) = spine.call_read(verb, task="one")["checks"]
        assert [(Path(one["path"]).name, one["bytes"]) for one in first["files"]] == [("shot.png", 4)]
    spine.cancel_open()
    spine.wait(lambda: spine.task("one").outcome is not None)
    spine.call("remove", task="one")
    spine.call("purge", yes=True, all=True)
    assert spine.call_read("logs", task="one")["checks"][0]["files"] == []


def test_a_browser_that_an_agent_leaves_ends_with_its_task(spine: Spine) -> None:
    leave = """setsid chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage \
    --remote-debugging-port=$STRETTO_BROWSER_PORT \
    "--user-data-dir=$STRETTO_BROWSER_PROFILE" about:blank >/dev/null 2>&1 & echo begun > begun.txt"""
    ask = {"ask": {"text": "Go on?"}}
    text = plan(task("one"), checks="[]")
    spine.run(text, {"one": turns([{"run": {"argv": ["sh", "-c", leave]}}, ask])}, approve="human")
    spine.wait_item("question", 60)
    profiles = spine.repo.path.parent / "repo.worktrees" / ".stretto" / "browsers"
    wait_for(lambda: len(using(profiles)) > 1, 60, what="the browser to have children")
    spine.call("cancel", task="one")
    spine.wait(lambda: spine.task("one").outcome is not None)
    spine.call("remove", task="one")
    wait_for(lambda: using(profiles) == [], what="the last helper of the browser to end")


SANDBOXED = """
[workspace]
browser = "pipe"
sandbox = "bubblewrap"
[workspace.ports]
web = 0
[workspace.serve.web]
run = "exec python3 serve.py"
port = "web"
ready = "/"
[checks]
e2e = { run = "sh e2e.sh", serve = ["web"] }
"""
LOOK = """cd "$STRETTO_ARTIFACTS"
chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$STRETTO_BROWSER_PROFILE" \
  --screenshot=page.png "http://127.0.0.1:$PORT_WEB/" 2>&1
chromium --headless=new --no-sandbox --disable-gpu --user-data-dir="$STRETTO_BROWSER_PROFILE" \
  --dump-dom "http://127.0.0.1:$PORT_WEB/" > page.html 2>/dev/null
test -s page.png && grep "one|visited-one=yes" page.html && test "$PLAYWRIGHT_MCP_SANDBOX" = false
"""


def test_a_browser_works_in_a_sandbox_and_its_pictures_come_out(home: Path, make_repo: Any, tmp_path: Path) -> None:
    files = {"stretto.toml": SANDBOXED, "serve.py": SERVE, "e2e.sh": LOOK}
    with running(make_repo("repo", {"README.md": "hello\n", **files}), tmp_path) as spine:
        text = plan(task("one")).replace('checks: ["true"]\n', "")
        spine.run(text, {"one": turns([write("one.txt", "1")])})
        outcome = spine.wait_over(120)
        said = "\n".join(Path(str(c.output)).read_text() for c in checks(spine))
        assert outcome == {"one": "landed"}, said
        left = [Path(f["path"]).name for c in spine.call_read("logs", task="one")["checks"] for f in c["files"]]
        assert sorted(left) == ["page.html", "page.html", "page.png", "page.png"]
