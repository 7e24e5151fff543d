import unittest

from shelf.app import App
from shelf.database import connect


class Products(unittest.TestCase):
    def setUp(self):
        self.app = App(connect(":memory:"))

    def tearDown(self):
        self.app.db.close()

    def test_a_product_is_added_and_listed(self):
        status, lamp = self.app.handle("POST", "/products", body={"name": "lamp", "cents": 1900})
        self.assertEqual(status, 201)
        self.assertEqual(self.app.handle("GET", "/products"), (200, {"products": [lamp]}))

    def test_a_product_without_a_price_is_refused(self):
        self.assertEqual(self.app.handle("POST", "/products", body={"name": "lamp"})[0], 400)

    def test_an_unknown_path_is_not_found(self):
        self.assertEqual(self.app.handle("GET", "/nothing")[0], 404)
