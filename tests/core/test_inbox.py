import pytest

from stretto.core.errors import UsageError
from stretto.core.inbox import KEYS, Reply, options, ranked, understand
from stretto.core.model import ItemKind
from tests.support import rows

#: DECISIONS 12
WORDS = {"accept", "send-back", "cancel", "retry", "approve", "allow", "deny", "continue"}
QUESTION = rows.item(options=(("1", "Use SQLite"), ("2", "Use Postgres")))


def test_each_kind_has_its_fixed_words():
    assert set(KEYS) == set(ItemKind)
    assert {key for keys in KEYS.values() for key in keys} <= WORDS
    for kind, keys in KEYS.items():
        assert [key for key, _ in options(kind)] == list(keys)
        assert all(text for _, text in options(kind))
    assert [key for key, _ in options(ItemKind.FAILURE, "continue")] == ["continue", "retry", "send-back", "cancel"]


@pytest.mark.parametrize(
    ("kind", "said", "understood"),
    [
        (ItemKind.REVIEW, "approve", Reply("approve", "")),
        (ItemKind.REVIEW, "let it land", Reply("approve", "")),
        (ItemKind.REVIEW, "send-back: use a set here", Reply("send-back", "use a set here")),
        (ItemKind.REVIEW, "please use a set here", Reply("send-back", "please use a set here")),
        (ItemKind.FAILURE, "Try again", Reply("retry", "")),
        (ItemKind.PERMISSION, "allow", Reply("allow", "")),
        (ItemKind.PERMISSION, "deny use the other tool", Reply("deny", "use the other tool")),
        (ItemKind.PERMISSION, "not on my machine", Reply("deny", "not on my machine")),
    ],
)
def test_what_was_typed_is_understood(kind, said, understood):
    assert understand(rows.item(kind, options=options(kind)), said) == understood


def test_a_question_takes_an_option_or_words():
    assert understand(QUESTION, "1") == Reply("1", "Use SQLite")
    assert understand(QUESTION, "use postgres") == Reply("2", "Use Postgres")
    assert understand(QUESTION, " neither: keep the file ") == Reply(None, "neither: keep the file")
    assert understand(rows.item(), "cancel") == Reply(None, "cancel")
    assert understand(rows.item(), "8080") == Reply(None, "8080")


def test_a_number_that_is_no_option_does_not_reach_the_agent():
    with pytest.raises(UsageError, match="no option 3, only 1, 2") as caught:
        understand(QUESTION, "3")
    assert str(caught.value.hint).startswith("stretto answer i1 1")


@pytest.mark.parametrize(
    ("kind", "said"), [(ItemKind.QUESTION, "  "), (ItemKind.SETUP, "hm"), (ItemKind.STALL, ""), (ItemKind.BUDGET, "7")]
)
def test_what_cannot_be_understood_is_refused_with_the_words_that_can(kind, said):
    with pytest.raises(UsageError) as caught:
        understand(rows.item(kind, options=options(kind)), said)
    assert caught.value.hint
    assert caught.value.hint.startswith("stretto answer i1 ")


def test_what_holds_up_an_agent_or_others_comes_first():
    def item(id, kind, task="r/a", at=1.0, **changes):
        return rows.item(kind, id, id=id, task=task, opened_at=at, **changes)

    items = [
        item("review-big", ItemKind.REVIEW, "r/big"),
        item("review-small", ItemKind.REVIEW, "r/small"),
        item("review-blocking", ItemKind.REVIEW, "r/blocking"),
        item("question", ItemKind.QUESTION, at=9.0),
        item("permission-new", ItemKind.PERMISSION, at=5.0),
        item("permission-old", ItemKind.PERMISSION, at=4.0),
        item("failure", ItemKind.FAILURE),
        item("answered", ItemKind.QUESTION, answered_at=2.0),
        item("closed", ItemKind.QUESTION, closed_at=2.0),
    ]
    found = ranked(items, {"r/blocking": 2}, {"r/big": 500, "r/small": 3, "r/blocking": 900})
    assert [i.id for i in found] == [
        "permission-old",
        "permission-new",
        "question",
        "failure",
        "review-blocking",
        "review-small",
        "review-big",
    ]


@pytest.mark.parametrize("word", ["banana", "yes", "aprove", "2"])
def test_one_word_that_is_no_option_of_a_review_is_a_slip(word):
    item = rows.item(kind=ItemKind.REVIEW, options=options(ItemKind.REVIEW))
    with pytest.raises(UsageError, match="has no option"):
        understand(item, word)
    assert understand(item, f"send-back {word}") == Reply("send-back", word)
    assert understand(item, f"make it {word}") == Reply("send-back", f"make it {word}")


@pytest.mark.parametrize(("word", "key"), [("1", "allow"), ("2", "always"), ("3", "deny"), ("Always", "always")])
def test_an_option_of_a_permission_goes_by_its_place_too(word, key):
    item = rows.item(kind=ItemKind.PERMISSION, options=(("allow", "Once"), ("always", "Always"), ("deny", "No")))
    assert understand(item, word) == Reply(key, "")


@pytest.mark.parametrize("word", ["4", "0", "yes", "ok"])
def test_one_word_that_is_no_option_of_a_permission_refuses_nothing(word):
    item = rows.item(kind=ItemKind.PERMISSION, options=options(ItemKind.PERMISSION))
    with pytest.raises(UsageError, match="has no option"):
        understand(item, word)
    assert understand(item, f"deny {word}") == Reply("deny", word)


def test_numbers_that_name_options_are_no_places():
    item = rows.item(kind=ItemKind.PERMISSION, options=(("3", "Yes"), ("4", "No")))
    assert understand(item, "3") == Reply("3", "")
    with pytest.raises(UsageError, match="has no option"):
        understand(item, "1")
