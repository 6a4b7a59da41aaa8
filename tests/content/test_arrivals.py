"""Who waits for a chunk is woken by that one."""

import threading

from swarmp2p.content.exchange import Arrivals

A, B = b"a" * 32, b"b" * 32


def test_only_the_chunk_that_is_expected_wakes() -> None:
    arrivals = Arrivals()
    arrivals.came(A, 1)  # before anybody asks: whoever does looks for it himself
    with arrivals.expected(A, 1) as first, arrivals.expected(A, 1) as second, arrivals.expected(B, 2) as other:
        arrivals.came(A, 2)
        arrivals.came(B, 1)
        assert [each.is_set() for each in (first, second)] == [False, False]
        arrivals.came(A, 1)
        assert [each.is_set() for each in (first, second, other)] == [True, True, False]
    assert arrivals.count == 4
    assert arrivals._awaited == {}, "nothing is kept for who has gone"


def test_a_thread_is_woken_by_another() -> None:
    arrivals, waits = Arrivals(), threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        with arrivals.expected(A, 0) as came:
            waits.set()
            woken.append(came.wait(60))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waits.wait(60)
    arrivals.came(A, 0)
    thread.join(60)
    assert woken == [True]
