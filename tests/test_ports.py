"""Ports that stay free until somebody listens on them."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from swarmp2p import ports
from swarmp2p.core.errors import PortInUse

HOST = "127.0.0.1"


def test_no_outgoing_connection_takes_a_port_that_was_found() -> None:
    found = ports.free_ports(50)
    assert len(set(found)) == 50
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((HOST, 0)))
        for _ in range(50):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        # Port 0 is served from the same range as outgoing connections.
        lowest, highest = ports._outgoing()
        assert lowest <= listening.getsockname()[1] <= highest
        assert not any(lowest <= port <= highest for port in found)
        for port in found:
            stack.enter_context(socket.create_server((HOST, port)))


def test_a_taken_port_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    three = ports.free_ports(3)
    monkeypatch.setattr(ports, "_candidates", lambda: iter(three))
    with socket.create_server((HOST, three[1])):
        assert ports.free_ports(2) == [three[0], three[2]]
        with pytest.raises(PortInUse, match="has not 3 free ports"):
            ports.free_ports(3)
        with pytest.raises(PortInUse, match=str(three[1])):
            ports.require_free(three, HOST)
    assert ports.free_ports(3) == three
    ports.require_free(three, HOST)


def test_a_kernel_that_does_not_tell_its_range_has_the_assigned_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ports, "_OUTGOING", tmp_path / "none")
    assert ports._outgoing() == (49152, 65535)
    assert all(10000 <= port < 49152 for port in ports.free_ports(5))
