"""Where a key may be sent: only who holds it can say so, for one address, and it is carried over to the next key."""

import pytest

from pipeline.core.account import Secret, key_fingerprint
from pipeline.core.errors import SettingsError
from pipeline.core.seals import seal_holds, seal_of
from pipeline.edges.memory_seals import MemorySeals
from pipeline.flows.sealing import carry_over, is_sealed, seal

OURS, OTHERS = Secret("sk-ours-0123456789"), Secret("sk-others-0123456789")
API, EVIL = "https://api.example/base", "https://evil.example/base"


@pytest.fixture
def anyio_backend():
    return "asyncio"


def test_a_seal_holds_for_its_key_and_address_alone():
    made = seal_of(OURS, API)
    assert len(made) == 64
    assert seal_holds(OURS, API, made)
    assert not seal_holds(OTHERS, API, made)
    assert OURS.reveal() not in made


@pytest.mark.parametrize(
    "other",
    [
        "http://api.example/base",
        "https://api.example:8443/base",
        "https://api.example",
        "https://api.example/base/more",
        "https://api.example.evil.example/base",
        "https://api.example@evil.example/base",
        EVIL,
        "",
        "no address",
        "https://api.example/base?to=evil",
        "https://api.example/bas\ud800",
    ],
)
def test_it_holds_for_no_other_address(other):
    assert not seal_holds(OURS, other, seal_of(OURS, API))


def test_a_closing_slash_makes_no_other_address_as_requests_leave_it_out():
    assert seal_holds(OURS, f" {API}/ ", seal_of(OURS, API))


@pytest.mark.parametrize("forged", [None, "", "0" * 64, seal_of(OTHERS, EVIL), seal_of(OURS, API), "é\ud800"])
def test_nobody_without_the_key_makes_one(forged):
    assert not seal_holds(OURS, EVIL, forged)


def test_what_is_no_address_gets_no_seal():
    with pytest.raises(SettingsError, match="base URL"):
        seal_of(OURS, "ftp://api.example")


@pytest.mark.anyio
async def test_a_new_key_takes_over_the_seals_that_hold_and_no_forged_one():
    seals, mine = MemorySeals(), key_fingerprint(OURS.reveal())
    await seal(seals, OURS, API)
    await seals.keep(mine, EVIL, seal_of(OTHERS, EVIL))
    await seals.keep(mine, "https://copied.example", seal_of(OURS, API))
    await carry_over(seals, OURS, OTHERS)
    assert set(await seals.every(key_fingerprint(OTHERS.reveal()))) == {API}
    assert await is_sealed(seals, OTHERS, API)
    assert not await is_sealed(seals, OTHERS, EVIL)


@pytest.mark.anyio
async def test_an_address_that_can_be_none_is_not_sealed():
    assert not await is_sealed(MemorySeals(), OURS, "https://user:password@api.example")
