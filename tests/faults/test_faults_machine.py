"""A Hypothesis state machine over the client API of a real daemon, against a small model (machine_model.py).

Each step is something that a person does, or that happens to a machine; after each the house must become quiet, and
everything must hold. Data is drawn before anything is looked at, so that a seed gives the same steps; which task or
item a number means is decided by the house. `STRETTO_MACHINE=EXAMPLESxSTEPS[@SEED]` runs it longer.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from stretto.core.errors import StrettoError
from tests.faults import machine_house, machine_model
from tests.faults.machine_house import AGENT, House, Json, stripped
from tests.faults.machine_model import Model, settle, works_on
from tests.support.waiting import wait_for

pytestmark = pytest.mark.faults

EXAMPLES, STEPS, SEED = 6, 16, 20260
#: tasks of one example
MOST = 8
LETTERS = "wwwwwffnaasbcciikk"
TERMINAL = {"landed", "finished", "failed", "cancelled"}

numbers = st.integers(0, 7)
letters = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4).map(" ".join)
a_task = st.tuples(letters, numbers, st.sampled_from([0, 0, 0, 5]), st.sampled_from(["feature"] * 6 + ["research"]))
plans = st.lists(a_task, min_size=1, max_size=4)


class Machine(RuleBasedStateMachine):
    """The rules. Every rule leaves `self.model` with what must be true after it."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house, self.model = house, Model()
        self.plans: dict[str, list[str]] = {}  # run -> the sections of its plan
        self.paths: dict[str, Path] = {}
        self.ids = itertools.count(1)
        self.checkout = "leave"
        self.steps = 0

    @initialize(checkout=st.sampled_from(["leave", "update", "free"]), plan=plans, human=st.booleans())
    def begin(self, checkout: str, plan: list[tuple[str, int, int, str]], human: bool) -> None:
        self.checkout = checkout
        if checkout == "free":
            self.house.repo.git("switch", "--quiet", "--create", "side")
        self.house.up()
        self.submit(plan, human, 2)

    @invariant()
    def holds(self) -> None:
        if self.plans:
            COUNTED["steps"] += 1
            try:
                machine_model.check(self.house, self.model)
            except AssertionError as error:
                error.add_note(self.house.story())
                raise

    # ------------------------------------------------------------ words

    def tasks(self, *states: str, over: bool | None = None) -> list[Json]:
        found = self.house.status()["tasks"]
        found = [t for t in found if not states or t["state"] in states]
        return [t for t in found if over is None or (t["state"] in TERMINAL) == over]

    def pick(self, found: list[Any], number: int) -> Any:
        return found[number % len(found)] if found else None

    def refused(self, code: str | None, op: str, **args: Any) -> None:
        """This call must be refused, and change nothing."""
        before = settle(self.house)
        with pytest.raises(StrettoError) as caught:
            self.house.call(op, **args)
        assert code in (None, caught.value.code), f"{op}: {caught.value.code} instead of {code}"
        assert caught.value.message
        after = self.house.status()
        assert after["cursor"] == before["cursor"], self.house.since(before, "a refused call told an event")
        assert stripped(after) == stripped(before), "a refused call changed something"

    def tried(self, op: str, **args: Any) -> Json | None:
        """A call that may be refused; then nothing was changed by it."""
        before = settle(self.house)
        try:
            return self.house.call(op, **args)
        except StrettoError as refusal:
            code = refusal.code
        assert code not in {"bug", "internal"}
        after = self.house.status()
        assert after["cursor"] == before["cursor"], self.house.since(before, f"{op} was refused ({code})")
        return None

    # ------------------------------------------------------------ plans

    def sections(self, plan: list[tuple[str, int, int, str]], run: str | None = None) -> list[str]:
        ids: list[str] = [i for i, uid in self.model.tasks.items() if run and uid.startswith(run)]
        found = []
        for turns, needs, priority, kind in plan:
            id = f"t{next(self.ids)}"
            (self.house.log / f"{id}.letters").write_text(turns + "\n")
            wanted = [other for n, other in enumerate(ids[-3:]) if needs >> n & 1 and needs < 5]
            fields = [f"- kind: {kind}", f"- priority: {priority}", f"- files: {id}-*.txt"]
            fields += [f"- needs: {', '.join(wanted)}"] if wanted else []
            found.append(f"## {id}: Do {id}\nDo it.\nAccept: it is done.\n" + "\n".join(fields) + "\n")
            ids.append(id)
        return found

    def submit(self, plan: list[tuple[str, int, int, str]], human: bool, limit: int) -> None:
        sections = self.sections(plan)
        path = self.house.folder / f"PLAN{len(self.plans)}.md"
        done = self.run(path, sections, approve="human" if human else "auto", open=limit)
        self.plans[done["run"]], self.paths[done["run"]] = sections, path
        self.model.limits[done["run"]] = limit
        if human:
            self.model.human.add(done["run"])
        self.know(done["tasks"])

    def run(self, path: Path, sections: list[str], **args: Any) -> Json:
        text = '---\nchecks: ["test ! -e bad"]\n---\n# A plan\n\n' + "\n".join(sections)
        path.write_text(text)
        return self.house.call("run", plan_path=str(path), plan_text=text, **self.words(), **args)

    def words(self) -> Json:
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG")}
        checkout = {} if self.checkout == "free" else {"checkout": self.checkout}
        agent = f"command:{AGENT} {self.house.log}"
        return {"agent": agent, "trust": True, "fetch": False, "env": env, "target": "main", "base": "main"} | checkout

    def know(self, uids: list[str]) -> None:
        self.model.tasks.update({uid.partition("/")[2]: uid for uid in uids})

    @rule(plan=plans, human=st.booleans(), limit=st.integers(1, 3))
    def run_a_plan(self, plan: list[tuple[str, int, int, str]], human: bool, limit: int) -> None:
        if len(self.model.tasks) + len(plan) <= MOST:
            self.submit(plan, human, limit)

    @rule(task=a_task, number=numbers, told=st.booleans())
    def change_a_plan(self, task: tuple[str, int, int, str], number: int, told: bool) -> None:
        """Another task, and another spec of one that is there."""
        run = self.pick(list(self.plans), number)
        if len(self.model.tasks) >= MOST or not self.tasks_of(run):
            return
        sections = [*self.plans[run], *self.sections([task], run)]
        if told:
            at = number % len(self.plans[run])
            sections[at] = sections[at].replace("Do it.", f"Do it. And {number}.", 1)
        done = self.run(self.paths[run], sections, yes=True)
        assert done["run"] == run
        self.plans[run] = sections
        self.know(done["tasks"])

    def tasks_of(self, run: str) -> list[Json]:
        """Tasks of a run that are not over: else its plan would be run anew."""
        return [t for t in self.tasks(over=False) if t["run"] == run]

    @rule(task=a_task, number=numbers)
    def add_a_task(self, task: tuple[str, int, int, str], number: int) -> None:
        run = self.pick(list(self.plans), number)
        if len(self.model.tasks) >= MOST:
            return
        text = self.sections([(task[0], 0, task[2], task[3])])[0]
        self.know(self.house.call("add", text=text, run=run, **self.words())["tasks"])

    @rule(what=st.sampled_from(["plan", "task", "item", "run", "undo", "purge", "snapshot"]))
    def ask_nonsense(self, what: str) -> None:
        """Calls that name what is not there."""
        path = str(self.house.folder / "OTHER.md")
        match what:
            case "plan":
                text = "# P\n\n## a: A\nDo.\nAccept: ok.\n- needs: b\n"
                self.refused("bad_plan", "run", plan_path=path, plan_text=text, **self.words())
            case "task":
                self.refused("unknown_task", "cancel", task="nothing-of-the-kind")
            case "item":
                self.refused("no_item", "answer", item="i-none", answer="approve")
            case "run":
                self.refused("unknown_run", "pause", run="none-aaaa")
            case "undo":
                self.refused("no_removal", "undo", id="none")
            case "purge":
                self.refused("no_removal", "purge", ids=["none"])
            case "snapshot":
                uid = next(iter(self.model.tasks.values()))
                self.refused("no_snapshot", "restore", task=uid, ref="none", to=str(self.house.folder / "out"))

    # ------------------------------------------------------------ the inbox

    @rule(number=numbers, how=st.sampled_from(["first", "first", "first", "second", "last", "words", "empty"]))
    def answer(self, number: int, how: str) -> None:
        """Answer one item, and then once more: the second time changes nothing."""
        item = self.pick(settle(self.house)["inbox"], number)
        if item is None:
            return
        keys = [option["key"] for option in item["options"]]
        if how == "empty":
            return self.refused(None, "answer", item=item["id"], answer=" ")
        place = {"first": 0, "second": 1 % len(keys), "last": -1}
        said = "please use green" if how == "words" else keys[place[how]]
        self.consents(item, said)
        if self.tried("answer", item=item["id"], answer=said) is not None:
            self.refused("item_closed", "answer", item=item["id"], answer=said)

    def consents(self, item: Json, said: str) -> None:
        """Remember what an `approve` consents to, before it is said."""
        if item["kind"] == "review" and said == "approve":
            with self.house.rows() as db:
                patch = db.value("SELECT json_extract(payload, '$.patch') FROM items WHERE id = ?", item["id"])
            self.model.approved[item["task"]].add(str(patch))

    # ------------------------------------------------------------ steering

    @rule(number=numbers, verb=st.sampled_from(["send", "request_changes", "comment"]))
    def speak(self, number: int, verb: str) -> None:
        task = self.pick(self.tasks(), number)
        if task["state"] in TERMINAL:
            self.refused("task_over", verb, task=task["uid"], text="Look again.")
        elif task["started_at"] is None and verb != "comment":
            self.refused("not_started", verb, task=task["uid"], text="Look again.")
        else:
            self.tried(verb, task=task["uid"], text="Look again.")

    @rule(number=numbers)
    def approve(self, number: int) -> None:
        task = self.pick([t for t in self.tasks(over=False) if t["lands"]], number)
        if task is not None and (done := self.tried("approve", task=task["uid"])) is not None:
            self.model.approved[task["uid"]].add(done["patch"])

    @rule(number=numbers)
    def interrupt(self, number: int) -> None:
        working = [t for t in self.tasks("active") if works_on(self.house, t)]
        task = self.pick(working, number) or self.pick(self.tasks(), number)
        if task in working:
            self.house.call("interrupt", task=task["uid"])
        elif task["state"] != "waiting":  # one that asks is in its turn
            self.refused(None, "interrupt", task=task["uid"])

    @rule(number=numbers, paused=st.booleans(), whole=st.booleans())
    def hold(self, number: int, paused: bool, whole: bool) -> None:
        verb = "pause" if paused else "resume"
        if whole:
            run = self.pick(list(self.plans), number)
            self.house.call(verb, run=run)
            assert all(t["paused"] or not paused for t in self.tasks(over=False) if t["run"] == run)
            return
        task = self.pick(self.tasks(), number)
        if task["state"] in TERMINAL:
            return self.refused("task_over", verb, task=task["uid"])
        self.house.call(verb, task=task["uid"])

    @rule(number=numbers, whole=st.sampled_from([False] * 5 + [True]))
    def cancel(self, number: int, whole: bool) -> None:
        if whole:
            run = self.pick(list(self.plans), number)
            self.house.call("cancel", run=run)
            settle(self.house)
            assert all(t["state"] in TERMINAL for t in self.tasks() if t["run"] == run)
            return
        task = self.pick(self.tasks(), number)
        if task["state"] in TERMINAL:
            return self.refused("task_over", "cancel", task=task["uid"])
        self.house.call("cancel", task=task["uid"])
        settle(self.house)
        assert self.task(task["uid"])["state"] in {"cancelled", "landed"}

    def task(self, uid: str) -> Json:
        return next(t for t in self.tasks() if t["uid"] == uid)

    @rule(number=numbers, fresh=st.booleans(), whole=st.sampled_from([False] * 4 + [True]))
    def retry(self, number: int, fresh: bool, whole: bool) -> None:
        ended = self.tasks("failed", "cancelled")
        if whole:
            run = self.pick(list(self.plans), number)
            wanted = [t["uid"] for t in ended if t["run"] == run]
            self.model.reopened.update(wanted)
            done = self.house.call("retry", run=run, fresh=fresh)
            assert sorted(done["tasks"]) == sorted(wanted)
            return
        task = self.pick(ended, number)
        if task is None:
            task = self.pick(self.tasks(), number)
            return self.refused("not_over", "retry", task=task["uid"], fresh=fresh)
        self.model.reopened.add(task["uid"])
        self.house.call("retry", task=task["uid"], fresh=fresh)

    # ------------------------------------------------------------ workspaces

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        task = self.pick(self.tasks(), number)
        if task["worktree"] is None and task["state"] in TERMINAL:
            return self.refused("no_workspace", "remove", task=task["uid"])
        done = self.tried("remove", task=task["uid"])
        if done is not None:
            settle(self.house)
            after = self.task(task["uid"])
            assert after["state"] in TERMINAL
            assert after["worktree"] is None
            assert done["undo"] is None or not Path(str(task["worktree"])).exists()

    @rule(number=numbers)
    def undo(self, number: int) -> None:
        removal = self.pick(self.removals(), number)
        if removal is None:
            return self.refused("no_removal", "undo")
        done = self.tried("undo", id=removal["id"])
        if done is not None:
            assert Path(done["path"]).is_dir()
            self.refused("already_over", "undo", id=removal["id"])

    def removals(self) -> list[Json]:
        found: list[Json] = self.house.call("purge")["removals"]
        return found

    @rule(number=numbers)
    def purge(self, number: int) -> None:
        """Delete one for good: what no ref holds is gone, and that can only be ignored files of that task."""
        removal = self.pick(self.removals(), number)
        if removal is None:
            return
        self.house.call("purge", ids=[removal["id"]])
        gone = self.house.missing() - self.model.forgiven
        id = removal["task"].partition("/")[2]
        assert all(token.task == id and token.path.endswith(".log") for token in gone), f"purged too much: {gone}"
        self.model.forgiven |= gone

    @rule(number=numbers, which=numbers)
    def restore(self, number: int, which: int) -> None:
        task = self.pick([t for t in self.tasks() if t["started_at"]], number)
        if task is None:
            return
        found = self.pick(self.house.look("snapshots", task=task["uid"])["snapshots"], which)
        if found is not None:
            self.tried("restore", task=task["uid"], ref=found["ref"])

    # ------------------------------------------------------------ by hand

    @rule(number=numbers, commit=st.booleans())
    def work_in_a_worktree(self, number: int, commit: bool) -> None:
        """The person writes a file in a task's worktree, and commits it or does not."""
        task = self.pick([t for t in self.tasks() if t["worktree"] and Path(t["worktree"]).is_dir()], number)
        if task is None:
            return
        name, folder = f"hand{next(self.ids)}", Path(task["worktree"])
        (folder / f"{name}.txt").write_text(name + "\n")
        self.house.note(task["id"], f"{name}.txt", name)
        self.house.told.append(f"by hand: {name}.txt in {folder} commit={commit}")
        if commit:
            self.house.repo.git("add", "--", f"{name}.txt", cwd=folder)
            self.house.repo.git("commit", "--quiet", "--message", name, cwd=folder)

    @rule()
    def commit_on_the_target(self) -> None:
        """The person moves the target while the daemon lands on it."""
        repo, name = self.house.repo, f"hand{next(self.ids)}"
        if self.checkout == "update":
            wait_for(lambda: not repo.status(), what=self.house.story)
            repo.write({f"{name}.txt": name + "\n"})
            repo.git("add", "--", f"{name}.txt")
            repo.git("commit", "--quiet", "--message", name)
            self.model.by_hand.add(repo.head)
        else:
            self.model.by_hand.add(self.on_the_tip(name))
        self.house.told.append(f"by hand: {name} on main")

    def on_the_tip(self, name: str) -> str:
        """A commit on top of main that no checkout takes part in."""
        repo = self.house.repo
        tip = repo.oid("main")
        blob = repo.git("hash-object", "-w", "--stdin", input=name + "\n")
        rows = repo.git("ls-tree", tip) + f"\n100644 blob {blob}\t{name}.txt\n"
        tree = repo.git("mktree", input=rows)
        made = repo.git("commit-tree", "-p", tip, "-m", name, tree)
        repo.git("update-ref", "refs/heads/main", made, tip)
        return made

    @rule(number=numbers)
    def delete_a_worktree(self, number: int) -> None:
        """What no ref held is gone by the person's own hand."""
        task = self.pick([t for t in self.tasks() if t["worktree"] and Path(t["worktree"]).is_dir()], number)
        if task is None:
            return
        shutil.rmtree(task["worktree"], ignore_errors=True)
        self.house.told.append(f"by hand: rm -r {task['worktree']} of {task['uid']}")
        gone = self.house.missing() - self.model.forgiven
        assert all(token.task == task["id"] for token in gone), gone
        self.model.forgiven |= gone

    # ------------------------------------------------------------ accidents

    @rule()
    def kill_the_daemon(self) -> None:
        self.house.told.append(f"kill -9 of the daemon: {self.house.kill()}")
        before = stripped(self.house.stored())
        now = self.house.now()  # the test's clock is the daemon's: a client by itself looks at the wall
        assert stripped(self.house.look("status", now=now)) == before, "a read without a daemon"
        self.house.up()

    @rule(
        number=numbers,
        verb=st.sampled_from(["approve", "cancel", "remove", "retry", "undo", "answer", "send"]),
        after=st.sampled_from([0.0, 0.005, 0.02, 0.06, 0.15]),
    )
    def kill_the_daemon_while_it_is_asked(self, number: int, verb: str, after: float) -> None:
        """Nobody knows whether it was done; whatever was, was done whole."""
        args = self.something(verb, number)
        if args is None:
            return
        asked = threading.Thread(target=self.unheard, args=(verb, args))
        asked.start()
        time.sleep(after)  # a moment of the accident, not a wait for anything
        self.house.kill()
        asked.join()
        self.house.told.append(f"kill -9 of the daemon {after:g} s after {verb} {args}")
        self.house.up()

    def something(self, verb: str, number: int) -> Json | None:
        """Arguments of a call that is likely to do something; what it may lead to is remembered."""
        if verb == "undo":
            removal = self.pick(self.removals(), number)
            return removal and {"id": removal["id"]}
        if verb == "answer":
            item = self.pick(settle(self.house)["inbox"], number)
            if item is None:
                return None
            said = item["options"][0]["key"]
            self.consents(item, said)
            return {"item": item["id"], "answer": said}
        over = {"retry": True, "remove": None}.get(verb, False)
        task = self.pick(self.tasks("failed", "cancelled") if over else self.tasks(over=over), number)
        if task is None:
            return None
        if verb == "retry":
            self.model.reopened.add(task["uid"])
            return {"task": task["uid"], "fresh": bool(number % 2)}
        if verb == "approve":
            with self.house.rows() as db:
                self.model.approved[task["uid"]].add(
                    str(db.value("SELECT patch FROM tasks WHERE uid = ?", task["uid"]))
                )
        return {"task": task["uid"], "text": "Look again."} if verb == "send" else {"task": task["uid"]}

    def unheard(self, verb: str, args: Json) -> None:
        with contextlib.suppress(StrettoError):
            self.house.call(verb, **args)

    @rule(number=numbers)
    def kill_a_shim(self, number: int) -> None:
        pid = self.pick(self.house.shims(), number)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self.house.told.append(f"kill -9 of the shim {pid}")

    @rule(seconds=st.sampled_from([5.0, 700.0]))
    def let_time_pass(self, seconds: float) -> None:
        fresh = self.house.clock.with_suffix(".new")
        fresh.write_text(str(float(self.house.clock.read_text()) + seconds))
        fresh.replace(self.house.clock)
        self.house.told.append(f"{seconds:g} s pass")
        self.model.waited_long |= seconds > 600

    # ------------------------------------------------------------ the end

    def teardown(self) -> None:
        """Everything is let go and cancelled: then all is over, and nothing is lost."""
        self.house.up()  # a step that failed may have left none
        try:
            if self.plans:
                self.wind_up()
        except AssertionError as error:
            error.add_note(self.house.story())
            raise
        finally:
            self.house.call("shutdown", all=True)

    def wind_up(self) -> None:
        for run in self.plans:
            self.house.call("resume", run=run)
        settle(self.house)  # a task that ends by itself after the look could not be cancelled
        for task in self.tasks(over=False):
            self.house.call("cancel", task=task["uid"])
        machine_model.check(self.house, self.model)
        assert not self.tasks(over=False)
        wait_for(lambda: not self.house.shims(), what=self.house.story)
        assert self.house.repo.git("fsck", "--strict", "--no-dangling", "--no-progress") == ""


COUNTED = {"examples": 0, "steps": 0}


def wanted() -> tuple[int, int, int]:
    """Examples, steps and seed."""
    given = os.environ.get("STRETTO_MACHINE")
    if not given:
        return EXAMPLES, STEPS, SEED
    size, _, number = given.partition("@")
    examples, _, steps = size.partition("x")
    return int(examples), int(steps), int(number or SEED)


def test_whatever_is_done_the_invariants_hold(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples, steps, number = wanted()
    clock = home.with_name("clock")
    monkeypatch.setenv("STRETTO_TESTING", "1")
    monkeypatch.setenv("STRETTO_TEST_CLOCK", str(clock))
    COUNTED.update(examples=0, steps=0)

    @seed(number)
    def machine() -> Machine:
        clock.write_text("0")
        monkeypatch.setenv("STRETTO_HOME", str(home.with_name(f"h{COUNTED['examples']}")))
        COUNTED["examples"] += 1
        return Machine(machine_house.build(tmp_path / f"house{COUNTED['examples']}"))

    limits = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    run_state_machine_as_test(cast("type[Machine]", machine), settings=limits)
    with capsys.disabled():
        print(
            f" [seed {number}: {COUNTED['examples']} examples x {steps} steps, {COUNTED['steps']} times all invariants]"
        )
    assert COUNTED["examples"] >= examples
