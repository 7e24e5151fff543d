from pathlib import Path

from stretto.core.model import Item, ItemKind
from stretto.engine.acts.rows import close_items, open_item
from stretto.store.sqlite import Store
from tests.support import rows


def test_what_froze_the_queue_outlives_its_task(tmp_path: Path):
    """A landing that does not verify freezes the queue, whatever becomes of its task."""
    store = Store(tmp_path / "db", lambda: 100.0)
    with store.write() as tx:
        tx.insert(rows.run())
        tx.insert(rows.task())
        open_item(tx, rows.item(ItemKind.REVIEW, "review:1", id="a"))
        open_item(tx, rows.item(ItemKind.FAILURE, "frozen:0", id="b", payload={"frozen": "/r/.git"}))
        close_items(tx, rows.UID, "landed")
        still = [item.id for item in tx.select(Item, "closed_at IS NULL")]
    store.close()
    assert still == ["b"]
