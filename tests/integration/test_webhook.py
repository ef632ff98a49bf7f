"""Messages to a schedule's URL, as a real receiver meets them: signed, tried again, sent by one worker at a time."""

import asyncio
import base64
import copy
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from pipeline.core.errors import SettingsError
from pipeline.core.notices import CLAIM_MS, GRACE_MS, RETRY_MS, notice_state
from pipeline.core.schedules import Book, Cause, Firing, FiringState, Notice, Schedule
from pipeline.edges.clock import time_of_day_us
from pipeline.edges.memory_schedules import MemorySchedules
from pipeline.edges.webhook import NO_SECRET, SigningSecret, Webhook, checked_url, secrets_from, shown_url
from pipeline.flows.notifying import Notifying
from tests.webhook_receiver import Hook

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of the test's!!").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, which nobody has").decode()


@pytest.fixture
def hook() -> Iterator[Hook]:
    one = Hook()
    yield one
    one.close()


class Shelf(MemorySchedules):
    """Schedules whose clock the test moves."""

    def __init__(self) -> None:
        self.at_ms = time_of_day_us() // 1000
        super().__init__(lambda: self.at_ms)

    @property
    def kept(self) -> Book:
        return asyncio.run(self.book("nightly"))

    @property
    def past(self) -> list[Firing]:
        return asyncio.run(self.history("nightly", 10))

    @property
    def notice(self) -> Notice:
        return self.past[0].notices[0]


def shelf_for(url: str) -> Shelf:
    """A schedule whose run has ended, and of which `url` is to be told now."""
    shelf = Shelf()
    now = shelf.at_ms
    schedule = Schedule("nightly", "0 2 * * *", "UTC", ("m.csv",), "/srv", notify=url)
    ended = Notice("ended", due_ms=now)
    firing = Firing("0001", now, Cause.CRON, FiringState.ENDED, now, "r1", "out", exit_code=0, notices=(ended,))
    assert asyncio.run(shelf.put("nightly", None, Book(schedule, now + 86_400_000, (firing,))))
    return shelf


def webhook(secret: str = SECRET, timeout_s: float = 10.0) -> Webhook:
    return Webhook(lambda: secrets_from({"VIDBATCH_NOTIFY_SECRET": secret}), timeout_s)


async def looks(shelf: Shelf, sender: Webhook, times: int) -> None:
    """Look once at each time at which something is due."""
    notifying = Notifying(shelf, sender)
    try:
        for _ in range(times):
            await notifying.look()
            if firings := (await shelf.book("nightly")).firings:
                shelf.at_ms = max(shelf.at_ms, firings[0].notices[0].due_ms)
    finally:
        await sender.close()


def test_a_receiver_of_standard_webhooks_takes_the_message_for_genuine(hook):
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, webhook(), 1))
    ((path, headers, body),) = hook.got
    assert path == "/hooks/night?token=t0ken"
    told = Receiver(SECRET).verify(body, headers)
    assert (told["schedule"], told["event"], told["exit_code"]) == ("nightly", "ended", 0)
    assert headers["webhook-id"] == "nightly-0001-0"
    assert headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Receiver(OTHER).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Receiver(SECRET).verify(body.replace(b"0", b"1"), headers)
    assert notice_state(shelf.notice) == "delivered"
    assert shelf.kept.firings == ()


def test_what_fails_is_tried_again_until_it_arrives(hook):
    hook.to_do.extend(["500", "307 elsewhere", "hang"])
    shelf = shelf_for(hook.url)
    sender = webhook(timeout_s=0.3)
    troubles = []

    async def until_it_arrives() -> None:
        notifying = Notifying(shelf, sender)
        while (await shelf.book("nightly")).firings:
            await notifying.look()
            [over] = await shelf.history("nightly", 10)
            troubles.append(over.notices[0].trouble)
            shelf.at_ms = max(shelf.at_ms, over.notices[0].due_ms)
        await sender.close()

    began = shelf.at_ms
    asyncio.run(until_it_arrives())
    assert [path for path, *_ in hook.got] == ["/hooks/night?token=t0ken"] * 4  # the redirect was not followed
    assert len({headers["webhook-id"] for _, headers, _ in hook.got}) == 1
    stamps = [int(headers["webhook-timestamp"]) * 1000 for _, headers, _ in hook.got]
    assert [round((stamp - stamps[0]) / 1000) for stamp in stamps] == [0, 5, 35, 155]
    assert began // 1000 == stamps[0] // 1000
    place = f"http://127.0.0.1:{hook.port}/…"
    assert troubles[0] == f"{place} answered 500"
    assert troubles[1] == f"{place} answered 307; redirects are not followed"
    assert troubles[2].startswith(f"{place} did not answer: ")
    assert troubles[3] == ""
    assert shelf.notice.tries == 4
    assert "t0ken" not in "".join(troubles)


def test_a_receiver_that_was_not_there_is_told_once_it_is():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shelf = shelf_for(f"http://127.0.0.1:{port}/")
    asyncio.run(looks(shelf, webhook(), 1))
    assert "did not answer" in shelf.notice.trouble
    hook = Hook(port)
    try:
        asyncio.run(looks(shelf, webhook(), 1))
    finally:
        hook.close()
    assert len(hook.got) == 1
    assert notice_state(shelf.notice) == "delivered"


def test_it_is_given_up_after_the_last_try(hook):
    hook.to_do.extend(["503"] * 20)
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, webhook(), 20))
    assert len(hook.got) == len(RETRY_MS) + 1
    assert notice_state(shelf.notice) == "given up"
    assert shelf.kept.firings == ()


def test_an_answer_without_end_is_not_read(hook):
    hook.to_do.append("200 flood")
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, webhook(timeout_s=5), 1))
    assert notice_state(shelf.notice) == "delivered"


def test_of_several_workers_one_sends(hook):
    shelf = shelf_for(hook.url)

    async def all_at_once() -> None:
        senders = [webhook() for _ in range(5)]
        await asyncio.gather(*(Notifying(shelf, sender).look() for sender in senders))
        for sender in senders:
            await sender.close()

    asyncio.run(all_at_once())
    assert len(hook.got) == 1


def test_without_a_secret_nothing_is_sent_and_history_says_so(hook):
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, webhook(secret=""), 1))
    assert not shelf.past  # one that has a secret would have gone first
    shelf.at_ms += GRACE_MS
    asyncio.run(looks(shelf, webhook(secret=""), 1))
    assert shelf.notice.trouble == NO_SECRET
    assert not hook.got
    shelf.at_ms = shelf.notice.due_ms
    asyncio.run(looks(shelf, webhook(), 1))
    assert len(hook.got) == 1


def test_a_worker_that_dies_while_it_sends_costs_one_try(hook):
    hook.to_do.append("hang")
    shelf = shelf_for(hook.url)

    async def cancelled() -> None:
        sender = webhook()
        task = asyncio.create_task(Notifying(shelf, sender).look())
        assert await asyncio.to_thread(hook.met.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await sender.close()

    asyncio.run(cancelled())
    shelf.at_ms += CLAIM_MS
    asyncio.run(looks(shelf, webhook(), 1))
    assert notice_state(shelf.notice) == "delivered"
    assert shelf.notice.tries == 2


def test_a_change_of_the_book_meanwhile_loses_nothing(hook):
    shelf = shelf_for(hook.url)

    class Meddling(Webhook):
        async def send(self, *message: object) -> str:
            book = await shelf.book("nightly")
            assert await shelf.put("nightly", book.revision, book.revised(schedule=replace(book.schedule, paused=True)))
            return await super().send(*message)

    asyncio.run(looks(shelf, Meddling(lambda: secrets_from({"VIDBATCH_NOTIFY_SECRET": SECRET})), 1))
    assert notice_state(shelf.notice) == "delivered"
    assert shelf.kept.schedule.paused


def test_while_secrets_are_exchanged_a_message_bears_both_signatures(hook, tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{OTHER}\n")
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, Webhook(lambda: secrets_from({"VIDBATCH_NOTIFY_SECRET_FILE": str(file)})), 1))
    ((_, headers, body),) = hook.got
    for secret in (SECRET, OTHER):
        Receiver(secret).verify(body, headers)


@pytest.mark.parametrize("text", ["password", "whsec_short", "whsec_" + "A" * 200, "whsec_!!!!" + "A" * 40])
def test_what_is_no_secret_is_refused_without_being_repeated(text):
    with pytest.raises(SettingsError) as refused:
        secrets_from({"VIDBATCH_NOTIFY_SECRET": text})
    assert "VIDBATCH_NOTIFY_SECRET: found" in str(refused.value)
    assert text not in str(refused.value)


def test_a_secret_is_shown_nowhere(tmp_path):
    (secret,) = secrets_from({"VIDBATCH_NOTIFY_SECRET": SECRET})
    assert repr(secret) == "SigningSecret()"
    with pytest.raises(TypeError):
        copy.copy(secret)
    with pytest.raises(SettingsError, match=r"VIDBATCH_NOTIFY_SECRET_FILE: .*gone can't be read"):
        secrets_from({"VIDBATCH_NOTIFY_SECRET_FILE": str(tmp_path / "gone")})
    assert isinstance(secret, SigningSecret)


@pytest.mark.parametrize(
    "url",
    [
        "ops.example/x",
        "ftp://ops.example/x",
        "https:///x",
        "https://ops.example:port/x",
        "https://me:hunter2@ops.example/x",
        "https://me@ops.example/x",
        "https://ops.example/x#top",
        "https://ops.example/a b",
        "",
    ],
)
def test_only_plain_urls_are_told(url):
    with pytest.raises(SettingsError, match=r"^--notify: found") as refused:
        checked_url(url, "--notify")
    assert "hunter2" not in str(refused.value)


def test_a_url_is_shown_without_what_may_protect_it():
    assert checked_url("https://ops.example/x?key=1", "--notify") == "https://ops.example/x?key=1"
    assert shown_url("https://ops.example/x?key=1") == "https://ops.example/…"
    assert shown_url("http://ops.example:8080/") == "http://ops.example:8080"


def test_no_proxy_of_the_environment_sees_the_message(hook, monkeypatch):
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:1")
    shelf = shelf_for(hook.url)
    asyncio.run(looks(shelf, webhook(), 1))
    assert json.loads(hook.got[0][2])["firing"] == "0001"
