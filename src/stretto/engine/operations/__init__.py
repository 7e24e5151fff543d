"""What faces can ask of the engine: one function for each verb, `(engine, args) -> JSON`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stretto.engine.engine import Engine
from stretto.engine.operations import (
    byhand,
    checkouts,
    databases,
    driving,
    own_database,
    removal,
    serving,
    steer,
    submit,
    trusting,
)
from stretto.engine.operations.common import Args

Operation = Callable[[Engine, Args], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    "run": submit.run,
    "add": submit.add,
    "trust": trusting.show_or_trust,
    "answer": steer.answer,
    "send": steer.send,
    "request_changes": steer.request_changes,
    "comment": steer.comment,
    "approve": steer.approve,
    "land": steer.land,
    "interrupt": steer.interrupt,
    "attach": steer.attach,
    "pause": steer.pause,
    "resume": steer.resume,
    "cancel": steer.cancel,
    "retry": steer.retry,
    "remove": removal.remove,
    "undo": removal.undo,
    "purge": removal.purge,
    "restore": removal.restore,
    "update_checkout": checkouts.update,
    "serve": serving.serve,
    "driver": driving.open_session,
    "wake": serving.wake,
    "db_reset": databases.reset,
    "db_apply": own_database.apply,
    "workspace_new": byhand.new,
    "workspace_adopt": byhand.adopt,
    "workspace_ready": byhand.ready,
    "workspace_remove": byhand.remove,
}
