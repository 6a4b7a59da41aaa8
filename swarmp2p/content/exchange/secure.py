"""A TLS socket for threads that block, at the speed of the cipher.

pyOpenSSL makes contexts and handshakes and explains errors. Bytes go to OpenSSL by the binding that pyOpenSSL is made of:
pyOpenSSL itself copies each of them once more, and the standard library's `ssl` spends as much on getting the sixteen records
of a chunk as it takes to decrypt them (docs/decisions/0004).
"""

import contextlib
import os
import select
import socket
import struct
import threading
import time
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

_lib: Any = Binding.lib
_ffi: Any = Binding.ffi

FAREWELL = 1.0
"""Seconds for the other side to take in that it is refused."""
_RECORD = 16_384
_RECORD_MOST = _RECORD + 256 + 5
"""Bytes of a record on the wire (RFC 8446, section 5.2)."""


class TlsError(ConnectionError):
    """The other side broke the rules of TLS, or refused us by them."""


class SecureSocket:
    """One side of a TLS connection. Used by one thread at a time, but for `hang_up` and `close`.

    Args:
        raw: connected; belongs to the object from now on, and is closed with it.
        context: of this side.
        server: which side this is.
        timeout: seconds that the handshake may take.

    Raises:
        TimeoutError, ConnectionError: the handshake failed; TlsError if it was refused.
    """

    def __init__(self, raw: socket.socket, context: SSL.Context, *, server: bool, timeout: float) -> None:
        self._raw = raw
        self._lock = threading.Lock()
        self._closed = False
        self._least = 1
        # A blocking socket would do with fewer calls, but who sends a byte now and then would keep OpenSSL waiting for ever.
        raw.setblocking(False)
        self._connection = SSL.Connection(context, raw)
        self._ssl = self._connection._ssl
        deadline = time.monotonic() + timeout
        begin = self._connection.set_accept_state if server else self._connection.set_connect_state
        begin()
        try:
            while (result := _lib.SSL_do_handshake(self._ssl)) <= 0:
                if not self._more(result, deadline):
                    raise ConnectionError("the connection ended within the handshake")
        except TlsError:
            self._let_it_be_read()
            raise
        shown = self._connection.get_peer_certificate(as_cryptography=True)
        self.certificate = None if shown is None else shown.public_bytes(Encoding.DER)
        """The other side's, in DER."""

    def send_all(self, data: bytes | memoryview, timeout: float) -> None:
        """Send all of it. Raises TimeoutError, ConnectionError."""
        if not data:
            return
        deadline = time.monotonic() + timeout
        with self._lock, _exported(data) as buffer:
            self._check_open()
            while (result := _lib.SSL_write(self._ssl, buffer, len(data))) <= 0:
                if not self._more(result, deadline):
                    raise ConnectionError("the other side has ended the connection")

    def fill(self, view: memoryview, timeout: float) -> int:
        """Receive until `view` is full or the other side has ended; bytes received. Raises TimeoutError, ConnectionError."""
        deadline = time.monotonic() + timeout
        size, at, read = len(view), 0, _lib.SSL_read
        with self._lock, _exported(view) as buffer:
            self._check_open()
            while at < size:
                result = read(self._ssl, buffer + at, size - at)
                if result > 0:
                    at += result
                elif not self._more(result, deadline, size - at):
                    break
        return at

    def receive(self, timeout: float) -> bytes:
        """What comes next, at most a record (16 KiB); b"": the other side has ended. Raises TimeoutError, ConnectionError."""
        deadline = time.monotonic() + timeout
        record = bytearray(_RECORD)
        with self._lock, _exported(record) as buffer:
            self._check_open()
            while (result := _lib.SSL_read(self._ssl, buffer, _RECORD)) <= 0:
                if not self._more(result, deadline):
                    return b""
        return bytes(memoryview(record)[:result])

    def idle(self) -> bool:
        """Whether the other side has neither ended it nor said anything."""
        self._wake_at(1)
        poll = select.poll()  # and not select, which ends at 1024 descriptors
        poll.register(self._raw, select.POLLIN)
        return not poll.poll(0)

    def hang_up(self) -> None:
        """End it, also while another thread is sending or receiving; that one gets an error."""
        hang_up(self._raw)

    def close(self) -> None:
        """Idempotent; also while another thread is sending or receiving."""
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)
        with self._lock:  # else that thread might go on with another socket of the same number
            self._closed = True
            self._raw.close()

    def __del__(self) -> None:
        # As sockets do, and at once: pyOpenSSL's objects, which hold it too, go round in circles. A thread that dials for
        # somebody who does not wait any more drops what it has dialled.
        self._raw.close()

    def __enter__(self) -> "SecureSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionError("the connection is closed")

    def _let_it_be_read(self) -> None:
        """Wait until the other side knows why it is refused. A client has sent its first request by then, and if that were
        not read, the system would answer it with a reset, which may overtake the alert."""
        deadline = time.monotonic() + FAREWELL
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_WR)
            while True:
                self._wait(select.POLLIN, deadline)
                if not self._raw.recv(_RECORD):
                    return

    def _more(self, result: int, deadline: float, needed: int = 1) -> bool:
        """After a call that did not succeed: wait until it is worth another try; False if the other side has ended.

        Args:
            needed: bytes that are still to be received.
        """
        try:
            self._connection._raise_ssl_error(self._ssl, result)
        except SSL.WantReadError:
            self._wake_at(needed)
            self._wait(select.POLLIN, deadline)
        except SSL.WantWriteError:
            self._wait(select.POLLOUT, deadline)
        except SSL.ZeroReturnError:
            return False
        except SSL.SysCallError as error:
            _lib.ERR_clear_error()  # pyOpenSSL leaves it, and this thread's next call would be taken to have failed
            if error.args[0] == -1:  # ended without a farewell
                return False
            raise OSError(error.args[0], os.strerror(error.args[0])) from error
        except SSL.Error as error:
            reasons = [reason for _, _, reason in error.args[0] if reason] if error.args else []
            if not reasons:  # of the system's, or of the time after another error
                raise ConnectionResetError("the connection was reset") from error
            raise TlsError(", ".join(reasons)) from error
        return True

    def _wake_at(self, needed: int) -> None:
        """Let a wait for input last until there is enough of it: on a slow link a thread would wake for every record."""
        # OpenSSL may hold most of a record already, and will not ask for it again.
        least = max(1, needed - _RECORD_MOST)
        if least != self._least:
            self._least = least
            with contextlib.suppress(OSError):  # not every system has it
                self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def _wait(self, event: int, deadline: float) -> None:
        # Who is late is late, even if there is something by now: else a byte now and then would be enough.
        left = deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._raw, event)
        if left < 0 or not poll.poll(1000 * left):
            raise TimeoutError("the other side took too long")


def _exported(data: bytes | bytearray | memoryview) -> Any:
    """A pointer to these bytes, to be used in a `with` statement.

    Without one it would live as long as any traceback from its frame; and CPython dies when it collects a cycle with a
    memoryview that something still points into.
    """
    return _ffi.from_buffer(data)


def hang_up(sock: socket.socket) -> None:
    """End a connection that another thread is reading or writing; that thread gets an error, and closes it.

    The other side gets a reset then. Were it told politely that nothing more will come, it would go on trying to get rid of
    what it was sending: Linux acknowledges that for another minute.
    """
    with contextlib.suppress(OSError):  # it was not connected any more
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
