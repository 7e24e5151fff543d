"""What tokens of a model cost: the person's own table, else the one that `genai-prices` brings along, else unknown.

The extra `stretto[prices]` installs `genai-prices`. It is read offline, as it was installed; it is imported only when a
model is priced that the person's table does not have, for that takes a while. Nothing is ever fetched. It does not tell
how old it is: its date is that of its installation, which it is not newer than.

The installed table knows models by the names of their vendors. A name with a provider before it (`openai/gpt-5`) is
looked up without; `opus`, `sonnet` and `haiku`, as Claude Code's own words go, are the newest of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from stretto.core.usage import Price

_MILLION = 1_000_000


def prices(config: Mapping[str, Any], models: Iterable[str]) -> dict[str, Price]:
    """The prices of these models as far as they are known."""
    own: Mapping[str, Mapping[str, Any]] = config.get("prices") or {}
    found = {model: _own(model, own[model]) if model in own else _offline(model) for model in set(models) if model}
    return {model: price for model, price in found.items() if price is not None}


def _own(model: str, given: Mapping[str, Any]) -> Price:
    def text(key: str) -> str | None:
        return None if given.get(key) is None else str(given[key])

    kinds = str(given["input"]), str(given["output"]), text("cache_read"), text("cache_write")
    return Price(*kinds, str(given.get("date", "")), model=model)


@cache
def _offline(model: str) -> Price | None:
    """The price of a model by the installed table; None without the table, and for a model that it does not have.

    Each kind of tokens is priced alone, a million of it: what the table makes of large requests is not known here.
    """
    try:
        table = import_module("genai_prices")
    except ImportError:
        return None

    for name in dict.fromkeys((model, model.rpartition("/")[2], _newest(model) or model)):
        with suppress(LookupError, ValueError):
            return _priced(table, name)
    return None


def _priced(table: Any, model: str) -> Price:
    """The price by the installed table. Raises LookupError for a model that it does not have."""

    def dollars(**tokens: int) -> str:
        return str(table.calc_price(table.Usage(**tokens), model_ref=model).total_price)

    return Price(
        _per_million(dollars(input_tokens=_SMALL)),
        _per_million(dollars(output_tokens=_SMALL)),
        _per_million(dollars(input_tokens=_SMALL, cache_read_tokens=_SMALL)),
        _per_million(dollars(input_tokens=_SMALL, cache_write_tokens=_SMALL)),
        date=date.fromtimestamp(Path(str(table.__file__)).stat().st_mtime).isoformat(),
        source=f"genai-prices {_version()}",
        model=model,
    )


def _newest(word: str) -> str | None:
    """The newest model of a family of Claude that the installed table has; None if the word names no family."""
    if word not in ("opus", "sonnet", "haiku"):
        return None
    providers = import_module("genai_prices.data").providers
    ids = [str(model.id) for one in providers if one.id == "anthropic" for model in one.models]
    versions = {id: re.fullmatch(rf"claude-{word}-(\d+)(?:-(\d+))?", id) for id in ids}
    known = {id: (int(found[1]), int(found[2] or 0)) for id, found in versions.items() if found}
    return max(known, key=lambda id: known[id], default=None)


#: few enough for the lowest step of a price that grows with the size of a request
_SMALL = 1000


def _per_million(dollars: str) -> str:
    from decimal import Decimal

    return format(Decimal(dollars) * (_MILLION // _SMALL), "f")


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")


def source(found: Iterable[tuple[str, Price]]) -> list[dict[str, str]]:
    """Where the prices of these models are from and how old they are, each once, for `usage --json`."""
    told = sorted({(model, price.source, price.date) for model, price in found})
    return [{"model": model, "source": source, "date": date} for model, source, date in told]
