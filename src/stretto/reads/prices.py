"""What tokens of a model cost: the person's own table, else the one that `genai-prices` brings along, else unknown.

The extra `stretto[prices]` installs `genai-prices`. It is read offline, as it was installed; it is imported only when a
model is priced that the person's table does not have, for that takes a while. Nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from stretto.core.usage import Price

_MILLION = 1_000_000


def prices(config: Mapping[str, Any], models: Iterable[str]) -> dict[str, Price]:
    """The prices of these models as far as they are known."""
    own: Mapping[str, Mapping[str, Any]] = config.get("prices") or {}
    found = {model: _own(own[model]) if model in own else _offline(model) for model in set(models) if model}
    return {model: price for model, price in found.items() if price is not None}


def _own(given: Mapping[str, Any]) -> Price:
    def text(key: str) -> str | None:
        return None if given.get(key) is None else str(given[key])

    return Price(
        str(given["input"]), str(given["output"]), text("cache_read"), text("cache_write"), str(given.get("date", ""))
    )


@cache
def _offline(model: str) -> Price | None:
    """The price of a model by the installed table; None without the table, and for a model that it does not have.

    Each kind of tokens is priced alone, a million of it: what the table makes of large requests is not known here.
    """
    try:
        table = import_module("genai_prices")
    except ImportError:
        return None

    def dollars(**tokens: int) -> str:
        return str(table.calc_price(table.Usage(**tokens), model_ref=model).total_price)

    try:
        return Price(
            _per_million(dollars(input_tokens=_SMALL)),
            _per_million(dollars(output_tokens=_SMALL)),
            _per_million(dollars(input_tokens=_SMALL, cache_read_tokens=_SMALL)),
            _per_million(dollars(input_tokens=_SMALL, cache_write_tokens=_SMALL)),
            source=f"genai-prices {_version()}",
        )
    except (LookupError, ValueError):
        return None


#: few enough for the lowest step of a price that grows with the size of a request
_SMALL = 1000


def _per_million(dollars: str) -> str:
    from decimal import Decimal

    return format(Decimal(dollars) * (_MILLION // _SMALL), "f")


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")


def source(found: Mapping[str, Price]) -> list[dict[str, str]]:
    """Where these prices are from and how old they are, for `usage --json`."""
    return [{"model": model, "source": price.source, "date": price.date} for model, price in sorted(found.items())]
