"""Every module of this folder adds its routes: `ROUTES = {(method, pattern): handler}`."""

import importlib
import pkgutil
import re


def load():
    """All routes as (method, compiled pattern, handler)."""
    found = []
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        routes = importlib.import_module(f"{__name__}.{module}").ROUTES
        found += [(method, re.compile(pattern + r"\Z"), handler) for (method, pattern), handler in routes.items()]
    return found
