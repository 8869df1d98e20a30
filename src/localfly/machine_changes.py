"""Every change of a machine: on disk first, then told to whoever waits for the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localfly.machine_record import Machine
    from localfly.store import Store


class MachineChanges:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def tell(self, machine: Machine) -> None:
        self._store.save(machine)
        for waiter in self._waiters.pop(machine.id, set()):
            if not waiter.done():
                waiter.set_result(None)

    async def next(self, machine: Machine, timeout_s: float) -> bool:
        """Wait until something about the machine changes; False when the time is over."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(machine.id, set())
        waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError:
            return False
        finally:
            waiters.discard(waiter)
        return True
