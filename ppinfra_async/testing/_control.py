"""Lets a parent process look into a simulator and order faults over HTTP; no part of the service."""

from typing import Any

import orjson
from attrs import frozen

from ppinfra_async.testing._answers import Answer
from ppinfra_async.testing._counters import Counters
from ppinfra_async.testing._faults import Fault, Faults
from ppinfra_async.testing._service import Service


@frozen
class Control:
    """The routes under ``/_simulator/``, which exist only where `Settings.control` is on."""

    service: Service
    faults: Faults
    counters: Counters

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one request."""
        match method, path.removeprefix("/_simulator/"):
            case "GET", "counters":
                return Answer.json(self.counters.tree())
            case "GET", "tasks":
                return Answer.json(self._tasks())
            case "POST", "faults":
                return self._order(orjson.loads(body))
            case _:
                return Answer.json({"message": "counters, tasks or faults"}, 404)

    def _tasks(self) -> list[dict[str, Any]]:
        return [
            {**record.tree(with_picture=False), "status": record.status}
            for record in self.service.book.values()
        ]

    def _order(self, tree: dict[str, Any]) -> Answer:
        """Order the fault that the class method *fault* makes of *args* and *kwargs*."""
        make = getattr(Fault, tree["fault"])
        try:
            fault = make(*tree.get("args", ()), **tree.get("kwargs", {}))
            self.faults.order(tree["where"], fault, times=tree.get("times", 1))
        except ValueError as problem:
            return Answer.json({"message": str(problem)}, 400)
        return Answer.json({"waiting": self.faults.waiting})
