"""What the words of a spec give away. English only: text in other languages raises no finding here."""

from __future__ import annotations

import re

from stretto.core import plan_text

_CODE = re.compile(r"(`+)(?:(?!\1).)+?\1")
_LINK = re.compile(r"https?://\S+")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bcf)(?<!\bapprox)[.!?]+(?=\s|$)")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+", re.MULTILINE)

MAX_LETTERS = 4000
MAX_SPEC_WORDS = 120
MAX_SPEC_PARAGRAPHS = 2
MAX_ITEMS = 6
MAX_ACCEPT_WORDS = 40

_VERB = r"(?:add|build|change|clean|convert|create|document|drop|extend|fix|implement|introduce|make|migrate|move|port"
_VERB += r"|refactor|remove|rename|replace|rewrite|split|support|test|update|upgrade|wire|write)"
_QUESTIONS = re.compile(
    r"\b(?:figure out|find out (?:how|if|what|whether|which|why)|decide (?:how|if|on|what|when|whether|where|which)"
    r"|decide between|determine (?:how|if|the best|what|whether|which|why)|investigate|look into|explore"
    r"|think about|brainstorm|come up with|evaluate (?:how|if|options|the options|whether|which)|choose between"
    r"|consider (?:how|if|using|whether)|whether (?:we|to)|should (?:we|i)|not sure|unclear (?:how|if|what|why)"
    r"|(?:maybe|perhaps|possibly)|why (?:is|are|does|do|did)\b[^.\n]{0,80}"
    r"\b(?:flaky|slow|fail(?:s|ing)?|broken|crash(?:es|ing)?|leak(?:s|ing)?|hang(?:s|ing)?)"
    r"|or something (?:like|similar)|best (?:way|approach) to)\b",
    re.IGNORECASE,
)
_ASKED = re.compile(r"\w\W?\?(?=\s|$)")
_DESIGN = re.compile(
    r"^\W*(?:design|architect|devise|plan|propose|sketch)\s+(?:out\s+)?(?:a|an|the|our|how|new|some)\b[^.\n]{0,40}",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    r"\b(?:improve|enhance|optimi[sz]e|polish|moderni[sz]e|streamline|tidy(?: up)?|clean ?up|speed up|beautify|harden"
    r"|refactor|rework|fix (?:all |the |some )?(?:bugs?|issues?|problems?|everything|things|stuff)"
    r"|handle (?:all )?(?:errors?|edge cases)|make (?:\w+ ){0,4}(?:better|faster|nicer|cleaner|quicker|simpler|prettier"
    r"|robust|scalable|more \w+|production.ready))\b",
    re.IGNORECASE,
)
_MEASURE = re.compile(
    r"\d|[\"“”]|\b(?:so that|until|instead of|into|such that|by \w+ing|without|using|from .* to)\b|\b\w+/\w+"
    r"|\b\w+\.(?:py|js|ts|tsx|go|rs|java|rb|css|html|md|sql|toml|ya?ml|json)\b|\w_\w|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*",
)
_PLACEHOLDER = re.compile(
    r"\b(?:TBD|TBA|TO[D]O|FIX[M]E|X[X]X)\b|\?\?\?|\betc\b\.?|\band so on\b|<[a-z][a-z -]*>|\[\.\.\.\]"
)
_VAGUE_ACCEPT = re.compile(
    r"^\W*(?:it |everything |all |this |that |the (?:feature|code|change|bug|app|page|fix) )?"
    r"(?:(?:now )?(?:works?|is (?:done|fixed|good|ok|okay|fine|finished|complete|working|implemented|better|faster))"
    r"|done|ok|works as (?:expected|intended)|no (?:bugs|errors|problems)|looks (?:good|fine|nice)|good quality"
    r"|users? (?:is|are) happy|tbd|n/?a|none)"
    r"(?: (?:well|fine|correctly|properly|again|as (?:expected|intended|before)|now|good))*\W*$",
    re.IGNORECASE,
)
_SPOKEN_OF = re.compile(
    r"\btask `?([a-z0-9][a-z0-9-]*)\b|`([a-z0-9][a-z0-9-]*)` task\b"
    r"|\b(?:after|once|depends on|builds on|waits for) `([a-z0-9][a-z0-9-]*)`",
    re.IGNORECASE,
)
_JOINED = re.compile(rf"^\W*{_VERB}\b.*(?:\band\b|,|;|&)\s+(?:also\s+|then\s+)?{_VERB}\b", re.IGNORECASE)


def prose(text: str) -> str:
    """Text without code fences, and with code spans and links as one word that means nothing here.

    Only the beginning of a very long text: that it is too long is a finding of its own.
    """
    lines, _ = plan_text.mark_fences(text.split("\n"))
    plain = "\n".join(line.text for line in lines if not line.fenced)[:MAX_LETTERS]
    return _LINK.sub("LINK", _CODE.sub("`x_y`", plain))


def sentences(text: str) -> list[str]:
    """The sentences of prose."""
    return [part.strip() for part in _SENTENCE_END.split(text) if re.search(r"\w", part)]


def items(text: str) -> int:
    """How many list items stand in it."""
    return len(_ITEM.findall(prose(text)))


def too_long(spec: str) -> str | None:
    """Why a spec is more than a short paragraph, or None."""
    plain = prose(spec)
    words = len(plain.split())
    paragraphs = [part for part in re.split(r"\n\s*\n", plain) if part.strip()]
    if words > MAX_SPEC_WORDS:
        return f"{words} words, over {MAX_SPEC_WORDS}"
    if len(paragraphs) > MAX_SPEC_PARAGRAPHS:
        return f"{len(paragraphs)} paragraphs"
    return None


def too_long_acceptance(accept: str) -> str | None:
    """Why an acceptance is longer than a sentence, or None."""
    plain = prose(accept)
    count = max(len(sentences(plain)), items(accept))
    if count > 1:
        return f"{count} sentences"
    words = len(plain.split())
    return f"{words} words" if words > MAX_ACCEPT_WORDS else None


def vague_acceptance(accept: str) -> bool:
    """Whether it says no more than that it works."""
    return _VAGUE_ACCEPT.match(prose(accept)) is not None


def question(text: str) -> str | None:
    """The words that leave something open, or None."""
    plain = prose(text)
    if found := _QUESTIONS.search(plain):
        return found[0].strip()
    if asked := _ASKED.search(plain):
        return re.split(r"[.!?\n]", plain[: asked.end() - 1])[-1].strip() + "?"
    return None


def design(text: str) -> str | None:
    """The words that ask for a design, or None."""
    for sentence in sentences(prose(text)):
        if found := _DESIGN.match(sentence):
            return found[0].strip()
    return None


def vague(text: str) -> str | None:
    """A vague verb in a sentence without any measure, name or number, or None."""
    for sentence in sentences(prose(text)):
        found = _VAGUE.search(sentence)
        if found and not _MEASURE.search(sentence):
            return found[0]
    return None


def placeholder(text: str) -> str | None:
    """A placeholder, or None."""
    found = _PLACEHOLDER.search(prose(text))
    return found[0] if found else None


def joined(title: str) -> bool:
    """Whether a title orders two things: `Add search and fix the login`."""
    return _JOINED.match(prose(title)) is not None


def spoken_of(text: str) -> list[str]:
    """Words that the text uses as ids of tasks: "task `x`", "the `x` task", "after `x`", "depends on `x`"."""
    return list(dict.fromkeys(word for found in _SPOKEN_OF.findall(text[:MAX_LETTERS]) for word in found if word))
