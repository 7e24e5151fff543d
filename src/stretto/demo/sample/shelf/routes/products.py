"""Products: list them, add one."""


def list_products(db, query):
    rows = db.execute("SELECT id, name, cents FROM products ORDER BY name")
    return 200, {"products": [dict(row) for row in rows]}


def add_product(db, query, body):
    name, cents = body.get("name"), body.get("cents")
    if not isinstance(name, str) or not name or not isinstance(cents, int):
        return 400, {"error": "name and cents are needed"}
    with db:
        cursor = db.execute("INSERT INTO products (name, cents) VALUES (?, ?)", (name, cents))
    return 201, {"id": cursor.lastrowid, "name": name, "cents": cents}


ROUTES = {
    ("GET", "/products"): list_products,
    ("POST", "/products"): add_product,
}
