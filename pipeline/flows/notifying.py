"""Tell schedules' URLs how firings ended: claim a notice, send it, write down what came of it.

Any number of control workers may do this at once: the claim is a compare-and-set, and who lost it leaves the notice.
"""

import asyncio

from pipeline.core.notices import Due, claimed, due_notices, is_claimed, message_id, over, payload, told
from pipeline.core.schedules import Book
from pipeline.ports import Messenger, Schedules

AT_ONCE = 8
"""So many messages are under way at a time; an address that does not answer holds one of them for ten seconds."""


class Notifying:
    """One process's share of it."""

    def __init__(self, schedules: Schedules, messenger: Messenger) -> None:
        self._schedules = schedules
        self._messenger = messenger

    async def due(self) -> list[tuple[str, Due]]:
        """What may be sent now, with its schedule's name. LedgerUnavailable when Redis is away."""
        books = [book for book in await self._schedules.books() if book.firings]
        if not any(firing.notices for book in books for firing in book.firings):
            return []
        now_ms = await self._schedules.now_ms()
        able = not self._messenger.trouble()
        found = [(book.schedule.name, due) for book in books for due in due_notices(book, now_ms, able=able)]
        return found[:AT_ONCE]

    async def tell(self, name: str, due: Due) -> str:
        """Send one, unless another has claimed it or it is gone; why it did not arrive. LedgerUnavailable as ever.

        Where it goes away before it is written down that a message arrived, the message is sent once more, under the
        same id.
        """
        book = await self._schedules.book(name)
        if book is None or due.firing not in book.firings:
            return ""
        now_ms = await self._schedules.now_ms()
        mine = claimed(book, due, now_ms)
        if not await self._put(book, mine) or not is_claimed(mine, due):
            return ""
        trouble = await self._messenger.send(
            book.schedule.notify, message_id(name, due), now_ms // 1000, payload(book, due)
        )
        await self._write_down(name, due, trouble)
        return trouble

    async def look(self) -> int:
        """Send all that is due; how many there were."""
        found = await self.due()
        await asyncio.gather(*(self.tell(name, due) for name, due in found))
        return len(found)

    async def _write_down(self, name: str, due: Due, trouble: str) -> None:
        """As often as others change the book meanwhile."""
        while (book := await self._schedules.book(name)) is not None:
            after = told(book, due, await self._schedules.now_ms(), trouble)
            if after is None or await self._put(book, after):
                return

    async def _put(self, before: Book, after: Book) -> bool:
        kept, ended = over(after)
        return await self._schedules.put(before.schedule.name, before.revision, kept, ended)
