"""From a request to an answer, without a socket."""

from shelf import routes


class App:
    def __init__(self, db):
        self.db = db
        self.routes = routes.load()

    def handle(self, method, path, query=None, body=None):
        """Status and JSON of an answer."""
        for wanted, pattern, handler in self.routes:
            match = pattern.match(path)
            if wanted == method and match:
                extra = (body,) if method in ("POST", "PUT") else ()
                return handler(self.db, query or {}, *match.groups(), *extra)
        return 404, {"error": f"no {method} {path}"}
