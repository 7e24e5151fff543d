"""Addresses of databases: read, shown, refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stretto.core.database_url import DatabaseUrl, parse, protection, provider_of
from stretto.core.errors import UsageError
from stretto.core.names import database_name, is_database_name


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ann@db.local:5433/shop",
        "postgresql://db.local/shop",
        "postgresql:///shop",
        "postgresql://ann@/shop?host=/run/postgresql&port=5433",
        "postgresql://ann@[::1]:5432/shop?sslmode=require",
        "sqlite:///var/app.db",
        "sqlite:////var/app.db",
    ],
)
def test_an_address_comes_back_as_it_was(text: str) -> None:
    assert parse(text).text() == text


@pytest.mark.parametrize(
    "text",
    ["", "shop", "mysql://db/shop", "sqlite://", "sqlite:///", "sqlite:///data/", "postgresql://db:http/shop",
     "postgresql://localhost/shop?hostaddr=10.0.0.9", "postgresql:///shop?service=live",
     "postgresql:///shop?servicefile=/etc/x", "postgresql://a,b/shop", "postgresql://[db/shop", "postgresql://db/%0Ashop"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(text)
    assert refused.value.code == "database_url"
    assert refused.value.hint


@given(st.text(max_size=60))
def test_no_text_is_too_strange(text: str) -> None:
    for scheme in ("postgresql://", "sqlite:///", "postgresql://a:b@", ""):
        with suppress(UsageError):
            parse(scheme + text).shown()


def test_a_password_is_never_shown() -> None:
    for text in ("postgresql://ann:s3cret@db/shop", "postgresql://ann@db/shop?password=s3cret"):
        url = parse(text)
        assert url.password == "s3cret"
        assert "s3cret" not in url.shown()
        assert parse(url.text()).password == "s3cret"


def test_the_password_of_a_key_is_one_too() -> None:
    url = parse("postgresql://ann@db/shop?sslkey=k.pem&sslpassword=s3cret")
    assert url.secret
    assert url.shown() == "postgresql://ann@db/shop?sslkey=k.pem&sslpassword=***"
    assert not parse("postgresql://ann@db/shop?sslkey=k.pem").secret


def test_a_word_of_the_query_counts_before_the_part_of_the_same_meaning() -> None:
    url = parse("postgresql://ann:a@db/shop?dbname=shop_production&user=bob&password=s3cret")
    assert (url.name, url.user, url.password, url.query) == ("shop_production", "bob", "s3cret", ())
    assert protection(url) == "shop_production is called like a database that customers use"
    assert "s3cret" not in url.shown()


@pytest.mark.parametrize(
    ("url", "protected"),
    [
        ("postgresql:///shop?host=/cloudsql/acme:europe:shop-prod", True),
        ("postgresql:///shop?host=/cloudsql/acme:europe:guarded", True),
        ("postgresql:///shop?host=/cloudsql/acme:europe:shop-dev", False),
        ("postgresql:///shop?host=/run/postgresql", False),
        ("postgresql://localhost/shop", False),
        ("postgresql:///shop", False),
        ("postgresql://db/shop", False),
        ("postgresql://product-db/products", False),
        ("postgresql://x.eu-west-1.rds.amazonaws.com/shop", True),
        ("postgresql://EP-1.neon.tech./shop", True),
        ("postgresql://shop-prod.local/shop", True),
        ("postgresql://prod1/shop", True),
        ("postgresql://localhost/shop_production", True),
        ("postgresql://staging.shop.example/shop", True),
    ],
)
def test_what_is_protected(url: str, protected: bool) -> None:
    assert (protection(parse(url), more=("*.shop.example", "acme:*:guarded")) is not None) is protected


def test_an_exception_is_for_one_host_and_never_beats_a_protection_of_ones_own() -> None:
    url = parse("postgresql://ann@ep-1.neon.tech/shop")
    assert protection(url, allowed=("ep-1.neon.tech",)) is None
    assert protection(url, allowed=("*.neon.tech",)) is not None
    assert protection(url, more=("ep-*",), allowed=("ep-1.neon.tech",)) is not None


def test_the_provider_that_an_address_means() -> None:
    assert provider_of(parse("sqlite:///a.db")) == "sqlite"
    assert provider_of(parse("postgresql:///a")) == "postgres-database"
    assert provider_of(None) == "memory"


@given(st.text(), st.text(), st.text(), st.text())
def test_names_are_plain_and_differ(project: str, owner: str, one: str, other: str) -> None:
    name = database_name(project, owner, one)
    assert is_database_name(name)
    assert len(name) <= 53
    assert (name == database_name(project, owner, other)) is (one == other)


def test_a_name_of_somebody_else_is_none_of_ours() -> None:
    for name in ("shop", "stretto", 'stretto_"; DROP', "stretto_A", "", DatabaseUrl("postgresql", "x").name):
        assert not is_database_name(name)
