"""Every rule of `stretto plan lint`, by name. docs/plan-format.md lists them; a test holds the two together."""

from __future__ import annotations

from stretto.core.finding import Severity

_E, _W = Severity.ERROR, Severity.WARNING

#: name -> severity, meaning
RULES: dict[str, tuple[Severity, str]] = {
    # the file
    "unreadable-front-matter": (_E, "a line of the front matter is not `key: value`, or it has no end"),
    "no-tasks": (_E, "the plan holds no task"),
    "unclosed-fence": (_W, "a code fence has no end, so all below it is code"),
    "heading-without-id": (_W, "a heading of level 2 has no id and begins no task"),
    "commented-task": (_W, "a task stands in an HTML comment, and is a task all the same"),
    # ids and fields
    "bad-id": (_E, "an id holds more than a-z, 0-9 and -, or over 40 characters"),
    "duplicate-id": (_E, "two tasks have the same id"),
    "unknown-key": (_E, "a key is not known"),
    "repeated-key": (_E, "a key or `Accept:` stands twice"),
    "unreadable-field": (_E, "a value cannot be read as what its key needs"),
    "empty-field": (_W, "a key has no value"),
    "ignored-field": (_W, "a line looks like a field but is read as text"),
    "text-after-fields": (_W, "text follows the fields without a blank line and is read as part of the spec"),
    "unknown-role": (_W, "the configuration does not know the role"),
    "secret-in-plan": (_W, "a variable that looks like a secret has its value in the plan"),
    # order
    "unknown-need": (_E, "a task needs one that is not in the plan"),
    "cycle": (_E, "tasks wait for each other"),
    "unnamed-need": (_W, "the spec speaks of another task that is not among its needs"),
    "nothing-parallel": (_W, "all tasks form one chain, so that none can run beside another"),
    # what tasks touch
    "no-files": (_W, "a task that may run beside others does not say which files it touches"),
    "overlapping-files": (_W, "tasks that may run together touch the same files"),
    "shared-tables": (_W, "tasks that may run together change the same tables"),
    "outside-files": (_W, "a glob leaves the repository or is written with backslashes"),
    "touches-too-much": (_W, "a task claims too many files, folders or tables"),
    "shared-without-files": (_W, "a task in the main checkout does not say which files it may change"),
    # the words
    "no-title": (_W, "the heading has no title"),
    "long-title": (_W, "the title is longer than 72 characters"),
    "duplicate-title": (_W, "two tasks have the same title"),
    "no-spec": (_W, "nothing stands below the heading"),
    "long-spec": (_W, "the spec is more than a short paragraph"),
    "several-tasks": (_W, "the task is more than one task"),
    "no-acceptance": (_W, "nothing says when the task is done"),
    "long-acceptance": (_W, "the acceptance is longer than a sentence"),
    "vague-acceptance": (_W, "the acceptance cannot be checked"),
    "open-question": (_W, "the spec asks instead of saying: work for the driver, for research or architecture"),
    "design-work": (_W, "the task is to design something: work for the driver or for kind architecture"),
    "vague-verb": (_W, "a verb without a measure: improve, clean up, make faster"),
    "placeholder": (_W, "the spec holds a placeholder: TBD, a to-do mark, etc."),
}
