"""The real Playwright: its tests' files are kept with the check; its tool server has a browser for each workspace."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

from stretto.core.model import Check
from stretto.workspace import Bays, stack
from tests.engine.spine import plan, running, task, turns, write
from tests.support import layers, playwright
from tests.support.repository import Repository

CONFIG = """
[workspace]
browser = "pipe"
setup = "ln -s MODULES node_modules"
[workspace.ports]
web = 0
[workspace.serve.web]
run = "exec python3 -m http.server --bind 127.0.0.1 $PORT"
port = "web"
ready = "/"
[checks]
e2e = { run = "node node_modules/@playwright/test/cli.js test", serve = ["web"] }
"""
SETTINGS = """
module.exports = {
  outputDir: process.env.STRETTO_ARTIFACTS + "/results",
  reporter: [["line"], ["html", { open: "never" }]],
  workers: 1,
  use: { trace: "on", screenshot: "on", launchOptions: { executablePath: "PROGRAM" } },
};
"""
SPEC = """
const { test, expect } = require("@playwright/test");
test("the page", async ({ page }) => {
  await page.goto("http://127.0.0.1:" + process.env.PORT_WEB + "/page.html");
  await expect(page).toHaveTitle("A page");
});
"""
PAGE = "<title>A page</title><p>Hello\n"


def test_traces_and_screenshots_are_kept_with_the_check(home: Path, make_repo: Any, tmp_path: Path) -> None:
    modules, program = playwright.programs() / "node_modules", playwright.chromium()
    files = {
        "stretto.toml": CONFIG.replace("MODULES", str(modules)),
        "playwright.config.js": SETTINGS.replace("PROGRAM", program),
        "page.spec.js": SPEC,
        "page.html": PAGE,
        ".gitignore": "node_modules\n",
    }
    with running(make_repo("repo", files), tmp_path) as spine:
        text = plan(task("one")).replace('checks: ["true"]\n', "")
        spine.run(text, {"one": turns([write("one.txt", "1")])})
        outcome = spine.wait_over(120)
        with spine.engine.store.read() as db:
            said = "\n".join(Path(str(c.output)).read_text() for c in db.select(Check, "1 ORDER BY id"))
        assert outcome == {"one": "landed"}, said
        told = spine.call_read("logs", task="one")["checks"]
        assert {one["purpose"] for one in told} == {"task", "gate"}
        for one in told:
            left = {Path(each["path"]).name: Path(each["path"]) for each in one["files"]}
            assert "trace.zip" in left
            assert "index.html" in left
            assert "playwright-report" in left["index.html"].parts
            assert any(name.endswith(".png") and path.read_bytes()[1:4] == b"PNG" for name, path in left.items())
            with zipfile.ZipFile(left["trace.zip"]) as trace:
                assert any(name.endswith(".trace") for name in trace.namelist())
        assert not spine.events("work.cleaned"), "nothing was left in the worktree"


def test_tool_servers_of_two_workspaces_have_browsers_of_their_own_by_environment_alone(
    repo: Repository, tmp_path: Path
) -> None:
    playwright.programs()
    found = layers.bays(repo.path)
    folder = repo.path.parent / "bays"
    bays = Bays(
        found._git, folder, "home-1", layers=stack.configured(found._git, folder, "home-1", {"browser": "pipe"})
    )
    outside = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STRETTO_TEST_RUN": os.environ["STRETTO_TEST_RUN"],
        "PLAYWRIGHT_MCP_EXECUTABLE_PATH": playwright.chromium(),
        "PLAYWRIGHT_MCP_HEADLESS": "true",
        "PLAYWRIGHT_MCP_SANDBOX": "false",
    }
    servers: dict[str, playwright.ToolServer] = {}
    profiles: dict[str, Path] = {}
    try:
        for name in ("one", "two"):
            branch = f"stretto/plan-abcd/{name}/work"
            space = bays.ensure(f"plan-abcd/{name}", "task", repo.oid("main"), branch, {})
            profiles[name] = Path(space.env["STRETTO_BROWSER_PROFILE"])
            servers[name] = playwright.ToolServer({**outside, **space.env})
            page = f"data:text/html,<title>page of {name}</title>"
            assert f"page of {name}" in servers[name].call("browser_navigate", url=page)
        for name, server in servers.items():
            other = {"one": "two", "two": "one"}[name]
            seen = server.call("browser_snapshot")
            assert f"page of {name}" in seen
            assert f"page of {other}" not in seen
            assert (profiles[name] / "Default").is_dir()
            assert "picture.png" in server.call("browser_take_screenshot", filename="picture.png")
            assert (profiles[name].parent / "output" / "picture.png").is_file()
    finally:
        for server in servers.values():
            server.close()
