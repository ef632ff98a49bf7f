"""What a worker's child process keeps between shifts: one event loop and one set of clients, made after the fork.

An HTTP client that was opened before the fork hands one child's answers to another, without an error; so nothing here
may exist in the main process.
"""

import asyncio
import logging
import os
import random
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count

import uvloop

from pipeline.core.answering import Judge, Verdict
from pipeline.core.answers import Completion
from pipeline.core.costs import Price
from pipeline.core.errors import LedgerMismatch, LedgerUnavailable, StorageError
from pipeline.core.media_roots import covers
from pipeline.core.snapshot import RunState
from pipeline.core.tickets import Role
from pipeline.edges.clock import MachineClock, time_of_day_us
from pipeline.edges.logs import told_with
from pipeline.edges.places import out_place
from pipeline.edges.redis_ledger import RedisLedger
from pipeline.edges.run_folder import LocalRunFolder, judging_by
from pipeline.flows.cancel import cancel
from pipeline.flows.feed import feed
from pipeline.flows.finalize import finalize
from pipeline.flows.heartbeat import capacity_of
from pipeline.flows.late import late_shift
from pipeline.flows.leaving import unless_cut
from pipeline.flows.poll import poll_shift
from pipeline.flows.shift import Bench
from pipeline.flows.submit import submit_shift
from pipeline.flows.write import Writing, write_shift
from pipeline.ports import RunCard
from workers.apis import Apis
from workers.finishing import report, tell_finished
from workers.holders import unique_name
from workers.keeping import Keeping
from workers.keys import Keys
from workers.row_log import RowLog
from workers.settings import WorkerSettings, from_environment
from workers.stopping import stopping
from workers.turns import Turn
from workers.windows import window_of

GATHER_S = {Role.SUBMIT: 0.02, Role.POLL: 0.05}
"""How long rows wait for others: each group costs Redis and us as much as several rows. The answer to a poll can wait,
an id that nobody else knows had better not."""

FAREWELL_S = 2.0

_log = logging.getLogger("vidbatch.worker")
_ids = count(1)


class Runtime:
    """One child's loop and clients."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._name = unique_name(os.uname().nodename)
        self._loop = uvloop.new_event_loop()
        self._clock = MachineClock()
        self._ledger = RedisLedger(settings.redis_url)
        self._keys = Keys(settings.redis_url)
        self._apis = self._made_apis()
        self._folders: dict[str, LocalRunFolder] = {}
        self._judging: tuple[str, Judge] | None = None
        self._keep = Keeping(settings)
        self._rows = RowLog(_log, self._clock.monotonic)
        self._foreign: set[str] = set()
        self._unsealed: set[tuple[str, str]] = set()

    def _made_apis(self) -> Apis:
        """The doors to the API, with the key of now."""
        self._fingerprint = self._keys.fingerprint
        return Apis(replace(self._settings, key=self._keys.key), self._clock)

    def hold(self, role: Role, run_id: str) -> None:
        """Hold one shift. Redis or the disk failing ends the shift, not the worker."""
        with told_with(role=role.value, run=run_id):
            self._hold_all_the_same(role, run_id)

    def _hold_all_the_same(self, role: Role, run_id: str) -> None:
        try:
            self._loop.run_until_complete(self._hold(role, run_id))
        except LedgerUnavailable as error:
            _log.warning("shift ended early: %s", error, extra={"event": "redis_away"})
        except LedgerMismatch as error:
            self._leave_alone(run_id, str(error))
        except StorageError as error:
            _log.error("OUT refuses: %s", error, extra={"event": "storage_failed"})
            self._pause(run_id, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, a person must hear of it
            # a writer or feeder that fails for an unforeseen reason would fail again at once, for ever
            _log.exception("a %s shift failed", role, extra={"event": "shift_failed"})
            if role in {Role.WRITE, Role.CONTROL}:
                self._pause(run_id, f"{role} failed with {type(error).__name__}: {error}")

    def _leave_alone(self, run_id: str, why: str) -> None:
        """Say it once: the tickets of such a run come again and again while workers of two versions are at work."""
        if run_id not in self._foreign:
            self._foreign.add(run_id)
            _log.warning("the run is left to others: %s", why, extra={"event": "foreign_ledger"})

    def _leave_unsealed(self, card: RunCard) -> None:
        """Say it once: its tickets come again and again until its command is repeated."""
        if (card.run_id, card.base_url) not in self._unsealed:
            self._unsealed.add((card.run_id, card.base_url))
            _log.warning(
                "nobody who holds the key said that it may be sent to %s: nothing of the run is sent or polled until "
                "its command is given again; if the address is none of yours, somebody else wrote it into Redis",
                card.base_url,
                extra={"event": "base_url_unsealed", "run": card.run_id, "base_url": card.base_url},
            )

    def _pause(self, run_id: str, reason: str) -> None:
        with suppress(LedgerUnavailable):
            self._loop.run_until_complete(self._ledger.set_state(run_id, RunState.PAUSED, f"storage: {reason}"))

    async def _hold(self, role: Role, run_id: str) -> None:
        card = await self._ledger.card(run_id)
        if card is None or not await self._serves(role, card):
            return
        holder = f"{self._name}-{next(_ids)}"
        most = await self._most(role)
        if not await self._ledger.begin_shift(run_id, role, holder, most):
            return
        window, seconds = window_of(role, card.policy.mode)
        turn = Turn(self._clock.monotonic, seconds, most)
        lease_s, gather_s, reach = card.policy.lease_s, GATHER_S.get(role, 0.0), self._apis.reach(card)
        recorded = partial(self._rows, run_id)
        bench = Bench(run_id, role, holder, window, seconds, lease_s, stopping, gather_s, turn.yields, recorded, reach)
        renewing = asyncio.create_task(self._renew(bench, turn))
        try:
            await self._work(bench, card)
        finally:
            renewing.cancel()
            _log.debug("%s is over", holder, extra={"event": "shift_ended"})
            # a shift whose end nobody hears of is forgotten by itself; a frozen server must not hold up a stop
            with suppress(LedgerUnavailable, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._ledger.end_shift(run_id, role, holder)

    async def _renew(self, bench: Bench, turn: Turn) -> None:
        """Say once a second that the shift is at work; see whether a long one keeps others waiting."""
        while True:
            await asyncio.sleep(1.0)
            with suppress(LedgerUnavailable):
                await self._ledger.renew_shift(bench.run_id, bench.role, bench.holder)
                if turn.is_long:
                    turn.seen(len(await self._ledger.active_runs()))

    async def _serves(self, role: Role, card: RunCard) -> bool:
        """Whether this worker holds the run's key, or sees the run's files, whichever the role needs."""
        if role in {Role.SUBMIT, Role.POLL}:
            await self._keys.look()
            if not await self._keys.serves(card.key_fingerprint):
                return False
            if self._keys.fingerprint != self._fingerprint:
                before, self._apis = self._apis, self._made_apis()
                await before.close()
            if not await self._keys.may_go_to(card.base_url):
                self._leave_unsealed(card)
                return False
            return role is Role.POLL or self._reads_videos(card)
        if self._folder(card).holds(card.token):
            return True
        _log.warning("%s does not hold this run's files", card.out, extra={"event": "storage_absent"})
        return False

    def _reads_videos(self, card: RunCard) -> bool:
        """Whether this worker sees all that the run's rows may hold: files, and what its folder keeps."""
        if not covers(self._settings.media_roots, card.media_roots):
            return False
        return not card.inline or self._folder(card).holds(card.token)

    async def _most(self, role: Role) -> int:
        """Live shifts of one run at a time: writing and feeding are one person's work."""
        if role in {Role.WRITE, Role.CONTROL}:
            return 1
        return max(1, capacity_of(await self._ledger.workers(), {}).shifts[role])

    async def _work(self, bench: Bench, card: RunCard) -> None:
        match bench.role:
            case Role.SUBMIT:
                await self._submit(bench, card)
            case Role.POLL:
                await self._poll(bench, card)
            case Role.WRITE:
                await write_shift(bench, self._ledger, self._clock, self._writing(card), time_of_day_us)
            case _:
                await self._control(card)

    def _judge(self, card: RunCard, completion: Completion) -> Verdict:
        """How good an answer is. The judge is made when one is first asked for: most runs have nothing to judge."""
        if self._judging is None or self._judging[0] != card.run_id:
            self._judging = card.run_id, judging_by(card.answers)
        return self._judging[1](completion)

    async def _submit(self, bench: Bench, card: RunCard) -> None:
        await submit_shift(
            bench,
            self._ledger,
            self._apis.sending(card),
            self._clock,
            card.policy,
            random.random,
            partial(self._keep, card, bench.holder),
            card.prices,
            partial(self._judge, card),
        )

    async def _poll(self, bench: Bench, card: RunCard) -> None:
        """Late ids are asked for beside the rows: neither waits for the other, but for the account's permits."""
        api, policy, prices = self._apis.asking(card), card.policy, card.prices
        judge = partial(self._judge, card)
        work = late_shift(bench, self._ledger, api, self._clock, policy, prices)
        late = asyncio.create_task(unless_cut(work, stopping, self._clock))
        try:
            await poll_shift(bench, self._ledger, api, self._clock, policy, random.random, prices, judge)
            await late
        finally:
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)

    async def _control(self, card: RunCard) -> None:
        run = await self._ledger.snapshot(card.run_id)
        if run is not None and run.all_ended:
            await finalize(run, self._ledger, self._folder(card), partial(report, self._folder(card)))
            self._folders.pop(card.run_id, None)
            tell_finished(run)
        elif run is not None and run.state in {RunState.CANCELLING, RunState.ABANDONING}:
            await cancel(run, self._ledger, self._folder(card), card.policy)
        elif run is not None:
            await feed(run, self._ledger, self._folder(card), card.policy)

    def _folder(self, card: RunCard) -> LocalRunFolder:
        if card.run_id not in self._folders:
            self._folders[card.run_id] = LocalRunFolder(out_place(card.out), card.run_id)
        return self._folders[card.run_id]

    def _writing(self, card: RunCard) -> Writing:
        folder = self._folder(card)
        described = folder.described()
        prices = {model: Price(**price) for model, price in described["prices"].items()}
        return Writing(card, folder, prices)

    def close(self) -> None:
        """Close the clients and the loop."""
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        self._folders.clear()  # what they keep on this machine goes with them
        await self._apis.close()
        await self._keys.close()
        await self._ledger.close()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


_runtimes: dict[int, Runtime] = {}


def runtime() -> Runtime:
    """This process's runtime, made at its first shift."""
    pid = os.getpid()
    if pid not in _runtimes:
        _runtimes.clear()
        _runtimes[pid] = Runtime(from_environment())
    return _runtimes[pid]


def close() -> None:
    """Close this process's runtime, if it has one."""
    made = _runtimes.pop(os.getpid(), None)
    if made is not None:
        made.close()
