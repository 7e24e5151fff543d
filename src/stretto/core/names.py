"""The one slug. Names become paths, branches and refs only through this module.

Task and run ids hold nothing but `a-z`, `0-9` and `-`, so that two ids that differ also differ after case folding, on
every file system, and nothing that a plan says can leave the folder or the ref namespace that is meant for it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

MAX_ID = 40
REF_ROOT = "refs/stretto"
REF_KINDS = ("base", "snap", "keep", "landed")
DEFAULT_PREFIX = "stretto"

_TASK_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}-[a-z2-7]{4}")
_REF_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
_PREFIX_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_DATABASE = re.compile(r"stretto_[a-z0-9_]{1,55}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


def slugify(text: str, limit: int = MAX_ID) -> str:
    """The slug of any text: a valid task id of at most `limit` characters. Equal texts have equal slugs.

    Text without a letter or digit that ASCII can show gets `x-` and the start of its hash.
    """
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode("ascii").lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-")
    if slug:
        return slug
    import hashlib  # `stretto status` has no need of it

    return "x-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]


def suggest_id(text: str, taken: Collection[str] = ()) -> str:
    """A valid task id made from `text` that is not in `taken`."""
    slug, n = slugify(text), 1
    candidate = slug
    while candidate in taken:
        n += 1
        candidate = slug[: MAX_ID - len(str(n)) - 1].rstrip("-") + f"-{n}"
    return candidate


def is_task_id(text: str) -> bool:
    """Whether `text` may be a task id (DECISIONS 1)."""
    return _TASK_ID.fullmatch(text) is not None


def is_run_id(text: str) -> bool:
    """Whether `text` has the form of a run id."""
    return _RUN_ID.fullmatch(text) is not None


def run_id(title: str, bits: int) -> str:
    """The id of a run: the slug of its title, `-`, and four base32 letters from the lowest 20 of random `bits`."""
    letters = "".join(_BASE32[(bits >> shift) & 31] for shift in (15, 10, 5, 0))
    return f"{slugify(title)}-{letters}"


def uid(run: str, task: str) -> str:
    """The key of a task in every row, ref and path. Raises ValueError for ids that are not valid."""
    if not is_run_id(run) or not is_task_id(task):
        raise ValueError(f"not a run and a task id: {run!r}, {task!r}")
    return f"{run}/{task}"


def split_uid(text: str) -> tuple[str, str] | None:
    """Run and task of a uid, or None if `text` is not one."""
    run, slash, task = text.partition("/")
    return (run, task) if slash and is_run_id(run) and is_task_id(task) else None


def file_name(uid: str) -> str:
    """A uid as one component of a path. Ids hold no underscore, so no two uids share a file name."""
    run, task = _parts(uid)
    return f"{run}__{task}"


def branch_name(uid: str, prefix: str = DEFAULT_PREFIX) -> str:
    """The branch that a task works on; the directory above `work` belongs to the task.

    Raises ValueError for a prefix that `is_prefix` refuses.
    """
    if not is_prefix(prefix):
        raise ValueError(f"not a branch prefix: {prefix!r}")
    run, task = _parts(uid)
    return f"{prefix}/{run}/{task}/work"


def database_name(project: str, owner: str, key: str) -> str:
    """The name of a database, schema and role of an owner: `a-z`, `0-9` and `_` only, at most 53 of them.

    `key` is what makes it different from that of any other owner, purpose, home or repository; the words before its
    hash are for people.

    >>> database_name("Shop", "search-release-k3fd/search", "x")
    'stretto_shop_search_2d711642b7'
    """
    import hashlib

    said = [slugify(project, 12), slugify(owner.rpartition("/")[2], 20)]
    return "_".join(["stretto", *said, hashlib.sha256(key.encode()).hexdigest()[:10]]).replace("-", "_")


def is_database_name(text: str) -> bool:
    """Whether `text` is a name that `database_name` gives, or one made from it."""
    return _DATABASE.fullmatch(text) is not None


def ref_name(kind: str, uid: str, *rest: str) -> str:
    """The hidden ref `refs/stretto/<kind>/<uid>/<rest…>` (`rest` at least one part, of the letters of an id).

    Raises ValueError for an unknown kind or a part that could leave the namespace.
    """
    if kind not in REF_KINDS:
        raise ValueError(f"not a kind of ref: {kind!r}")
    if not rest or not all(_REF_PART.fullmatch(part) for part in rest):
        raise ValueError(f"not the rest of a ref: {rest!r}")
    return "/".join((REF_ROOT, kind, *_parts(uid), *rest))


def ref_prefix(kind: str, uid: str) -> str:
    """What all refs of a kind of one task begin with, with the closing slash."""
    return ref_name(kind, uid, "x")[:-1]


def split_ref(ref: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Kind, uid and rest of one of our refs, or None for any other."""
    parts = ref.split("/")
    if len(parts) < 6 or "/".join(parts[:2]) != REF_ROOT or parts[2] not in REF_KINDS:
        return None
    key = "/".join(parts[3:5])
    rest = tuple(parts[5:])
    valid = split_uid(key) and all(_REF_PART.fullmatch(part) for part in rest)
    return (parts[2], key, rest) if valid else None


def is_prefix(text: str) -> bool:
    """Whether `text` may stand before `/<run>/<task>/work` in branch names: up to four plain components."""
    parts = text.split("/")
    if len(parts) > 4 or parts[0].lower() in {"refs", "head"}:
        return False
    return all(_PREFIX_PART.fullmatch(part) for part in parts)


def is_branch(text: str) -> bool:
    """Whether git accepts `text` as the name of a branch (the rules of `git check-ref-format --branch`)."""
    if not text or text.startswith("-") or text in {"@", "HEAD"} or text.startswith("refs/"):
        return False
    if _REF_FORBIDDEN.search(text) or text.endswith((".", "/")) or text.startswith("/"):
        return False
    if len(text.encode("utf-8", "surrogatepass")) > 200 or any("\ud800" <= letter <= "\udfff" for letter in text):
        return False
    return not any(part.startswith(".") or part.endswith(".lock") for part in text.split("/"))


def is_env_name(text: str) -> bool:
    """Whether `text` may name an environment variable."""
    return _ENV_NAME.fullmatch(text) is not None


def is_plain_name(text: str) -> bool:
    """Whether `text` may name a check, an agent, a role or a port: one plain component of a path."""
    return _PLAIN_NAME.fullmatch(text) is not None and ".." not in text and not text.lower().endswith(".lock")


def _parts(uid: str) -> tuple[str, str]:
    parts = split_uid(uid)
    if parts is None:
        raise ValueError(f"not a uid: {uid!r}")
    return parts
