"""Transactions that do not get into a block by themselves: too cheap, forgotten, overtaken, waiting for a missing one."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import trio
from trio.abc import Clock

from swarmp2p.control.abi_codec import artefact
from swarmp2p.control.fees import Fees
from swarmp2p.control.nonces import LATE, Nonces
from swarmp2p.control.rpc import RpcClient
from swarmp2p.control.sender import LOOK_AFTER, RECEIPT_TIMEOUT, Sender
from swarmp2p.control.transaction import Transaction, decode
from swarmp2p.core.errors import ChainUnreachable, TransactionFailed
from swarmp2p.identity import Key, keccak256
from swarmp2p.journal import Journal
from tests.control.fake_node import GWEI, Pool, node

KEY = Key.from_seed("sender")
TO = b"\x05" * 20
T = TypeVar("T")


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' clock would jump while a thread writes the journal: it is written here and now."""

    async def run_sync(function: Callable[..., T], *args: Any) -> T:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@asynccontextmanager
async def sender(pool: Pool, path: Path, answers: Any = None) -> AsyncIterator[Sender]:
    """A process that sends; again on the same path, one that was restarted."""
    journal = Journal(path / "journal.sqlite")
    async with RpcClient(["http://a"], chain_id=1, transport=node(answers or pool)) as rpc:
        yield Sender(rpc, KEY.secret, artefact(), journal)
    journal.close()


def pending(path: Path) -> list[tuple[str, int]]:
    journal = Journal(path / "journal.sqlite")
    found = [(entry.intent, entry.nonce) for entry in journal.pending()]
    journal.close()
    return found


async def left_behind(pool: Pool, path: Path, intent: str, data: bytes = b"left behind") -> None:
    """A process sends a transaction and is gone before it is in a block."""
    async with sender(pool, path) as first:
        with trio.move_on_after(1.0):
            await first.send(intent, TO, data)
    assert pending(path)


@pytest.mark.parametrize(
    "fees",
    [Fees(None, 0, 0), Fees(None, 3 * GWEI, GWEI), Fees(0), Fees(7 * GWEI)],
    ids=["free", "tip", "zero", "price"],
)
@pytest.mark.parametrize("to", [TO, None])
def test_what_is_signed_is_what_is_decoded(fees: Fees, to: bytes | None) -> None:
    from eth_account import Account

    transaction = Transaction(7, to, b"data", 90_000, fees)
    raw = transaction.sign(KEY.secret, 5)
    assert decode(raw) == transaction
    assert Account.recover_transaction(raw).lower() == "0x" + KEY.address.hex()


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x02\xc0", b"\xc1\x01", b"\x01\xc0", b"\xff" * 9])
def test_other_bytes_are_no_transaction(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no signed transaction"):
        decode(raw)


async def test_a_resumed_transaction_with_too_low_a_tip_is_replaced_at_once(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    pool = Pool(least_tip=GWEI)
    pool.mining = False
    await left_behind(pool, tmp_path, "submit:1")
    pool.least_tip, pool.mining = 50 * GWEI, True
    async with sender(pool, tmp_path) as second:
        await second.resend_pending()
    assert [(t.nonce, t.data) for t in pool.mined] == [(0, b"left behind")]
    assert pending(tmp_path) == []


async def test_a_resumed_transaction_is_raised_until_it_gets_in(tmp_path: Path, autojump_clock: Clock) -> None:
    """The node's own advice is too low."""
    pool = Pool(least_tip=GWEI)
    pool.mining = False
    await left_behind(pool, tmp_path, "submit:1")
    answers, pool.least_tip, pool.mining = misled(pool, tip=GWEI), 3 * GWEI, True
    async with sender(pool, tmp_path, answers) as second:
        begun = trio.current_time()
        await second.send("submit:1", TO, b"anything")
    assert trio.current_time() - begun < RECEIPT_TIMEOUT
    assert [t.data for t in pool.mined] == [b"left behind"]


def misled(pool: Pool, tip: int) -> Any:
    return lambda host, body: hex(tip) if body["method"] == "eth_maxPriorityFeePerGas" else pool(host, body)


async def test_a_cheap_transaction_of_an_earlier_run_does_not_block_the_next_one(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    """It is not resumed, since nobody wants it any more; but it comes first."""
    pool = Pool(least_tip=GWEI)
    pool.mining = False
    await left_behind(pool, tmp_path, "submit:1")
    pool.least_tip, pool.mining = 50 * GWEI, True
    async with sender(pool, tmp_path) as second:
        await second.send("submit:2", TO, b"next")
    assert [(t.nonce, t.data) for t in pool.mined] == [(0, b"left behind"), (1, b"next")]


async def test_the_first_of_a_replaced_transaction_is_known_after_a_restart(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    pool = Pool()
    pool.mining = False
    async with sender(pool, tmp_path) as first:
        with trio.move_on_after(40.0):
            await first.send("deploy", TO, b"once")
    assert pending(tmp_path) == [("deploy", 0)] * 2
    # The block has the older one, as blocks may that were made when the newer one was on its way.
    pool.blocks.append([pool.sent[0]])
    pool.pool.clear()
    pool.mining = True
    async with sender(pool, tmp_path) as second:
        receipt = await second.send("deploy", TO, b"once")
    assert receipt.hash == keccak256(pool.sent[0])
    assert len(pool.mined) == 1
    assert pending(tmp_path) == []


async def test_a_node_that_forgot_the_pool_is_given_it_again(tmp_path: Path, autojump_clock: Clock) -> None:
    pool = Pool()
    pool.mining = False
    async with sender(pool, tmp_path) as only, trio.open_nursery() as nursery:
        nursery.start_soon(only.send, "submit:1", TO, b"data")
        await trio.sleep(1.0)
        pool.pool.clear()
        pool.mining = True
    assert [t.data for t in pool.mined] == [b"data"]


async def test_another_transaction_in_its_place_ends_the_wait(tmp_path: Path, autojump_clock: Clock) -> None:
    pool = Pool()
    pool.mining = False

    async def takes_the_nonce(transaction: Transaction) -> None:

        await trio.sleep(1.0)
        pool.blocks.append([transaction.sign(KEY.secret, 1)])
        pool.pool.clear()

    async with sender(pool, tmp_path) as only, trio.open_nursery() as nursery:
        nursery.start_soon(takes_the_nonce, Transaction(0, TO, b"other", 21_000, Fees(None, 9 * GWEI, 9 * GWEI)))
        begun = trio.current_time()
        with pytest.raises(TransactionFailed) as caught:
            await only.send("submit:1", TO, b"data")
        assert caught.value.error == "NonceTaken"
        assert trio.current_time() - begun < 20
        pool.mining = True
        await only.send("submit:1", TO, b"data")
    assert [t.data for t in pool.mined] == [b"other", b"data"]


async def test_the_nonce_follows_a_reorganisation(tmp_path: Path, autojump_clock: Clock) -> None:
    pool = Pool()
    async with sender(pool, tmp_path) as only:
        for number in range(3):
            await only.send(f"submit:{number}", TO, b"before")
        pool.reorganise()
        pool.reorganise()
        begun = trio.current_time()
        await only.send("submit:1", TO, b"after")
        assert trio.current_time() - begun < 1.0
    assert [(t.nonce, t.data) for t in pool.mined] == [(0, b"before"), (1, b"after")]


async def test_a_nonce_before_it_that_nobody_has_is_filled(tmp_path: Path, autojump_clock: Clock) -> None:
    """One is in a block and another on its way; the block is reorganised away, and its transaction not wanted again."""
    pool = Pool()
    async with sender(pool, tmp_path) as only, trio.open_nursery() as nursery:
        await only.send("enrol:0", TO, b"first")
        pool.mining = False
        nursery.start_soon(only.send, "submit:1", TO, b"second")
        await trio.sleep(1.0)
        pool.reorganise()
        pool.mining = True
    assert [(t.nonce, t.to, t.data) for t in pool.mined] == [(0, KEY.address, b""), (1, TO, b"second")]


async def test_a_replacement_by_somebody_else_with_the_same_journal_is_the_transaction_too(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    """Two senders of one key are not meant to be, but a tool and a peer's parts may come to it."""
    pool = Pool()
    pool.mining = False
    async with sender(pool, tmp_path) as one, sender(pool, tmp_path) as other, trio.open_nursery() as nursery:
        nursery.start_soon(one.send, "stake", TO, b"first")
        await trio.sleep(1.0)
        nursery.start_soon(other.send, "submit:1", TO, b"second")
        await trio.sleep(LOOK_AFTER + 1.0)
        pool.mining = True
    assert [(t.nonce, t.data) for t in pool.mined] == [(0, b"first"), (1, b"second")]
    assert len(set(pool.sent)) == 3, "the first was offered again, for more"
    assert pending(tmp_path) == []


async def test_a_nonce_is_taken_while_its_transaction_is_waited_for_and_a_little_longer(autojump_clock: Clock) -> None:
    """Whatever the node says, which has perhaps lost it, and also when it was sent again in between."""
    async with RpcClient(["http://a"], transport=node(Pool())) as rpc:
        nonces = Nonces(rpc, KEY.address)
        with pytest.raises(ZeroDivisionError), nonces.waiting_for(0):  # noqa: PT012
            await trio.sleep(100.0)
            nonces.given(0)
            await trio.sleep(100.0)
            assert await nonces.next() == 1
            raise ZeroDivisionError
        assert await nonces.next() == 1
        await trio.sleep(LATE)
        assert await nonces.next() == 0
        with nonces.waiting_for(0):
            assert nonces.on_its_way(0)
        assert await nonces.next() == 0


@pytest.mark.parametrize("accepted", [False, True])
async def test_no_answer_to_a_send_is_no_loss(tmp_path: Path, autojump_clock: Clock, accepted: bool) -> None:
    """The request or the answer is lost again and again; what was perhaps sent is sent again, and counts once."""
    pool = Pool()
    lost = 7

    def answers(host: str, body: dict[str, Any]) -> Any:
        nonlocal lost
        if body["method"] != "eth_sendRawTransaction" or not lost:
            return pool(host, body)
        lost -= 1
        if accepted:
            pool(host, body)
        return httpx.ReadTimeout("lost")

    async with sender(pool, tmp_path, answers) as only:
        for _ in range(4):
            try:
                await only.send("submit:1", TO, b"data")
                break
            except ChainUnreachable:
                assert pending(tmp_path) == [("submit:1", 0)]
    assert [t.data for t in pool.mined] == [b"data"]
    assert pending(tmp_path) == []


async def test_where_gas_is_free_nothing_is_ever_offered(tmp_path: Path, autojump_clock: Clock) -> None:
    pool = Pool(least_tip=0, base_fee=0)
    pool.mining = False
    await left_behind(pool, tmp_path, "submit:1")
    async with sender(pool, tmp_path) as second, trio.open_nursery() as nursery:
        nursery.start_soon(second.send, "submit:1", TO, b"data")
        await trio.sleep(45.0)
        pool.mining = True
    assert [t.fees for t in map(decode, pool.sent)] == [Fees(None, 0, 0)] * len(pool.sent)
    assert len(pool.mined) == 1


def test_a_journal_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "journal.sqlite") as old:
        old.execute("CREATE TABLE transactions (intent TEXT PRIMARY KEY, nonce INTEGER, raw BLOB)")
        old.execute("INSERT INTO transactions VALUES ('submit:1', 4, X'01')")
    old.close()
    assert pending(tmp_path) == [("submit:1", 4)]
    assert pending(tmp_path) == [("submit:1", 4)], "nor does it come back"
