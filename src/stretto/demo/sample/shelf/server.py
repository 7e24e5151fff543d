"""The app behind Python's own HTTP server."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from shelf.app import App
from shelf.database import connect


def serve(database, port):
    app = App(connect(database))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(None)

        def do_POST(self):
            size = int(self.headers.get("Content-Length", 0))
            self.answer(json.loads(self.rfile.read(size) or b"{}"))

        def answer(self, body):
            url = urlsplit(self.path)
            status, data = app.handle(self.command, url.path, dict(parse_qsl(url.query)), body)
            text = data if isinstance(data, str) else json.dumps(data)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
