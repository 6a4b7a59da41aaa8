"""TLS sockets: they speak with others' TLS, and whoever is on the other end cannot hold one up or bring it down."""

import gc
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from swarmp2p.content.exchange.pins import Pins
from swarmp2p.content.exchange.secure import SecureSocket, TlsError
from swarmp2p.identity import Key
from swarmp2p.network.certificate import issue_certificate
from tests.content.tls import LOCAL
from tests.content.wire import pattern

MINE, OTHER = Key.from_seed("mine"), Key.from_seed("other")
LONG = 30.0


class Ends:
    """Two members who know each other, and a connection between them on which nothing was said yet."""

    def __init__(self) -> None:
        self.certificate, self.chain = issue_certificate(MINE.secret)
        self.others_certificate, self.others_chain = issue_certificate(OTHER.secret)
        self.pins, self.others = Pins(self.chain), Pins(self.others_chain)
        self.pins.pin(OTHER.address, self.others_certificate)
        self.others.pin(MINE.address, self.certificate)
        with socket.create_server((LOCAL, 0)) as server:
            self.raw = socket.create_connection(server.getsockname())
            self.other_raw, _ = server.accept()

    def close(self) -> None:
        self.raw.close()
        self.other_raw.close()

    @contextmanager
    def secured(self) -> Iterator[tuple[SecureSocket, SecureSocket]]:
        """Both ends after the handshake."""
        served: list[SecureSocket] = []
        thread = threading.Thread(
            target=lambda: served.append(self.others.secure(self.other_raw, server=True, timeout=LONG))
        )
        thread.start()
        with self.pins.secure(self.raw, server=False, timeout=LONG) as mine:
            thread.join()
            with served[0] as other:
                yield mine, other

    def in_memory(self) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        """The other end by the standard library, with what goes in and what comes out."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self.certificate)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.others_chain)
            file.flush()
            context.load_cert_chain(file.name)
        come, gone = ssl.MemoryBIO(), ssl.MemoryBIO()
        return context.wrap_bio(come, gone), come, gone


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    yield both
    both.close()


def shake_hands(ends: Ends, tls: ssl.SSLObject, come: ssl.MemoryBIO, gone: ssl.MemoryBIO) -> SecureSocket:
    """Our end as the server of the standard library's client."""
    served: list[SecureSocket] = []
    thread = threading.Thread(target=lambda: served.append(ends.pins.secure(ends.raw, server=True, timeout=LONG)))
    thread.start()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            ends.other_raw.sendall(gone.read())
            come.write(ends.other_raw.recv(65_536))
    ends.other_raw.sendall(gone.read())
    thread.join()
    return served[0]


def test_all_arrives_in_pieces_of_any_size(ends: Ends) -> None:
    data = pattern(1_000_003)
    with ends.secured() as (mine, other):
        assert (mine.certificate, other.certificate) == (ends.others_certificate, ends.certificate)

        def send() -> None:
            mine.send_all(data, LONG)
            mine.send_all(b"", LONG)
            mine.hang_up()

        thread = threading.Thread(target=send)
        thread.start()
        first = other.receive(LONG)
        rest = bytearray(len(data) - len(first))
        assert other.fill(memoryview(rest)[:7], LONG) == 7
        assert other.fill(memoryview(rest)[7:], LONG) == len(rest) - 7
        thread.join()
        assert first + bytes(rest) == data
        assert other.receive(LONG) == b""
        assert other.fill(memoryview(bytearray(1)), LONG) == 0


def test_the_standard_librarys_tls_is_understood(ends: Ends) -> None:
    tls, come, gone = ends.in_memory()
    with shake_hands(ends, tls, come, gone) as mine:
        assert mine.certificate == ends.others_certificate
        tls.write(b"question")
        ends.other_raw.sendall(gone.read())
        assert mine.receive(LONG) == b"question"
        mine.send_all(b"answer", LONG)
        answer = b""
        while not answer:
            come.write(ends.other_raw.recv(65_536))
            try:
                answer = tls.read()
            except ssl.SSLWantReadError:  # a ticket of the session
                continue
        assert answer == b"answer"


def test_who_sends_a_record_byte_by_byte_does_not_hold_us_up(ends: Ends) -> None:
    tls, come, gone = ends.in_memory()
    with shake_hands(ends, tls, come, gone) as mine:
        tls.write(bytes(16_000))
        record, over = gone.read(), threading.Event()

        def trickle() -> None:
            for at in range(len(record)):
                ends.other_raw.sendall(record[at : at + 1])
                if over.wait(0.01):  # 160 s for all of it
                    break

        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(TimeoutError):
            mine.fill(memoryview(bytearray(16_000)), 0.2)
        over.set()
        thread.join()


def test_who_says_nothing_is_given_up_in_the_handshake(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends.pins.secure(ends.raw, server=True, timeout=0.05)


def test_nonsense_is_no_handshake(ends: Ends) -> None:
    ends.other_raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
    ends.other_raw.shutdown(socket.SHUT_WR)
    with pytest.raises(TlsError):
        ends.pins.secure(ends.raw, server=True, timeout=LONG)


def test_who_reads_nothing_is_given_up(ends: Ends) -> None:
    with ends.secured() as (mine, _), pytest.raises(TimeoutError):
        mine.send_all(bytes(2**24), 0.2)


def test_a_connection_that_breaks_does_not_spoil_the_threads_next_one(ends: Ends) -> None:
    """OpenSSL keeps errors by thread, and takes what is left there for the error of the next call."""
    another = Ends()
    with ends.secured() as (mine, other), another.secured() as (next_, others):
        other.hang_up()
        other.close()

        def send_for_ever() -> None:
            while True:
                mine.send_all(bytes(100_000), LONG)

        with pytest.raises(ConnectionError):
            send_for_ever()
        thread = threading.Thread(target=lambda: others.send_all(b"still here", LONG))
        with pytest.raises(TimeoutError):
            next_.fill(memoryview(bytearray(1)), 0.01)
        thread.start()
        assert next_.receive(LONG) == b"still here"
        thread.join()
    another.close()


def test_closing_ends_a_wait_of_another_thread(ends: Ends) -> None:
    with ends.secured() as (mine, other):
        begun, got = threading.Event(), []

        def wait() -> None:
            begun.set()
            try:
                got.append(other.receive(LONG))
            except ConnectionError:  # closed before it had begun to wait
                got.append(b"")

        thread = threading.Thread(target=wait)
        thread.start()
        begun.wait()
        other.close()
        thread.join()
        assert got == [b""]
        with pytest.raises(ConnectionError, match="closed"):
            other.receive(LONG)
        with pytest.raises(ConnectionError):
            mine.send_all(bytes(2**20), LONG)


def test_who_is_hung_up_on_cannot_send_any_more(ends: Ends) -> None:
    """An orderly end would leave a sender with a full window, which the system may go on acknowledging for a minute."""
    with ends.secured() as (mine, other):
        other.send_all(b"hello", LONG)
        assert mine.receive(LONG) == b"hello"  # and nothing is left unread, which would make for a reset in any case
        mine.hang_up()
        mine.close()
        with pytest.raises(ConnectionError):
            other.send_all(b"not a byte", LONG)


def test_a_failure_whose_traceback_is_garbage_in_a_cycle_does_no_harm(ends: Ends) -> None:
    """CPython dies of a memoryview that is collected in a cycle while something points into it."""
    with ends.secured() as (mine, _):
        held: list[object] = []
        view = memoryview(bytearray(10))
        try:
            mine.fill(view, 0.0)
        except TimeoutError as error:
            held += [error, held]
        del held, view
        gc.collect()
