import os

from shelf.server import serve

serve(os.environ.get("SHELF_DB", "shelf.db"), int(os.environ.get("PORT", "8000")))
