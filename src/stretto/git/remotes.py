"""Fetch from and push to a remote, without prompts and with a limit of time.

Specification. The repository's configuration, which agents can write to, is read for the remote's address and nothing
else: transport runs in the neutral directory, with the person's own credentials and ssh. Only http, https, ssh, git and
file addresses are followed, no helper program that an address names. Remote-tracking refs are kept up to date. A push
moves one branch, only from the value that is expected there.
"""

from __future__ import annotations

from pathlib import Path

from stretto.core.errors import Conflict, GitFailed, StrettoError
from stretto.failpoints import failpoint
from stretto.git import refs, run
from stretto.git.context import Context
from stretto.process import Completed

#: how many refs tell the other side what we have
_TIPS = 64


def upstream(context: Context, branch: str) -> tuple[str, str] | None:
    """Remote and branch there that a local branch follows; None if it follows none, or another local one."""
    config = context.settings()
    remote, merge = config.get(f"branch.{branch}.remote"), config.get(f"branch.{branch}.merge", "")
    if not remote or remote == "." or not merge.startswith("refs/heads/"):
        return None
    return remote, merge.removeprefix("refs/heads/")


def fetch(context: Context, remote: str, branch: str, timeout: float) -> str | None:
    """Fetch a branch; the commit it is at now, None if the remote has no such branch.

    Raises GitFailed (`fetch_failed`), TimedOut, StrettoError (`no_remote`).
    """
    address = _address(context, remote)
    source = f"refs/heads/{_branch(branch)}"
    tracking = f"refs/remotes/{run.plain(remote)}/{branch}"
    tips = [f"--negotiation-tip={oid}" for oid in list(_tips(context, remote, branch))[:_TIPS]]
    options = ("--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--quiet")
    words = ("fetch", *options, *tips, "--", address, f"+{source}:{tracking}")
    failpoint("daemon.git.fetch.before")
    done = _talk(context, words, timeout)
    failpoint("daemon.git.fetch.after")
    if done.code == 0:
        return refs.read_ref(context, tracking)
    if b"couldn't find remote ref" in done.stderr:
        return None
    raise _unreachable(done, remote, "fetch_failed")


def _tips(context: Context, remote: str, branch: str) -> dict[str, None]:
    """Commits of ours that the remote most likely has as well, the most likely first."""
    known = refs.refs(context, f"refs/remotes/{remote}/") | refs.refs(context, "refs/heads/")
    first = [f"refs/remotes/{remote}/{branch}", f"refs/heads/{branch}"]
    ordered = [name for name in first if name in known] + [name for name in known if name not in first]
    return dict.fromkeys(known[name] for name in ordered)


def push(context: Context, remote: str, branch: str, new: str, old: str | None, timeout: float) -> None:
    """Move a remote branch from `old` (None: it must not exist) to `new`; one that is there already is a success.

    Raises Conflict (`ref_moved`) when it is elsewhere, GitFailed (`push_rejected`: the remote said no; `push_failed`),
    TimedOut, StrettoError (`no_remote`).
    """
    failpoint("daemon.git.push.before")
    address = _address(context, remote, push=True)
    target = f"refs/heads/{_branch(branch)}"
    lease = f"--force-with-lease={target}:{run.oid(old) if old else ''}"
    options = ("--porcelain", "--no-verify", "--no-recurse-submodules", "--no-signed", "--no-follow-tags", lease)
    done = _talk(context, ("push", *options, "--", address, f"{run.oid(new)}:{target}"), timeout)
    if done.code != 0:
        raise _push_failed(done, remote, branch, old)
    tracking = f"refs/remotes/{run.plain(remote)}/{branch}"
    refs.update_ref(context, tracking, new, refs.read_ref(context, tracking), "push")
    failpoint("daemon.git.push.after")


def _push_failed(done: Completed, remote: str, branch: str, old: str | None) -> StrettoError:
    report = next((line for line in run.text(done).splitlines() if line.startswith("!\t")), "")
    verdict = report.rpartition("\t")[2]
    if "stale info" in verdict or "fetch first" in verdict or "non-fast-forward" in verdict:
        return Conflict(
            f"{branch} of {remote} is not at {old or 'nothing'} as expected",
            object=f"{remote}/{branch}",
            code="ref_moved",
            hint=f"git fetch {remote}",
        )
    if verdict:
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("remote: ")]
        reason = said[0].removeprefix("remote: ").strip() if said else verdict
        return _refused(done, f"{remote} refused the push of {branch}: {reason}", remote, "push_rejected")
    return _unreachable(done, remote, "push_failed")


def _unreachable(done: Completed, remote: str, code: str) -> StrettoError:
    error = run.failed(done, Path(remote))
    return _refused(done, f"{remote}: {error.message}", remote, code)


def _refused(done: Completed, message: str, remote: str, code: str) -> GitFailed:
    stderr = done.stderr.decode(errors="replace")[-4000:]
    return GitFailed(message, argv=done.argv, returncode=done.code, stderr=stderr, object=remote, code=code)


def _talk(context: Context, words: tuple[str, ...], timeout: float) -> Completed:
    return run.run(
        context.plain,
        *words,
        env=run.network_environment(),
        cwd=context.root,
        timeout=timeout,
        ok=(0, 1, 128),
    )


def _address(context: Context, remote: str, *, push: bool = False) -> str:
    """The address of a remote, with the person's own abbreviations (`insteadOf`) applied."""
    words = ("remote", "get-url", *(["--push"] if push else []), "--", run.plain(remote))
    done = run.run(context.real, *words, env=run.personal_environment(), ok=(0, 2, 128))
    if done.code != 0:
        raise StrettoError(
            f"there is no remote called {remote}", object=remote, code="no_remote", hint=f"git remote add {remote} URL"
        )
    return run.plain(run.text(done).splitlines()[0])


def _branch(branch: str) -> str:
    if run.plain(branch).startswith("refs/") or any(c in branch for c in " :*?[\\^~"):
        raise StrettoError(f"{branch!r} is not the name of a branch", object=branch, code="bad_name")
    return branch
