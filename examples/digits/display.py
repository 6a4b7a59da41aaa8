"""The live display: a table where there is a terminal, a line a round where there is none."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from examples.digits.data import digits_of
from examples.digits.options import Options
from examples.digits.record import Record


class Display:
    """Shows a record as it grows. Use as a context manager."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=8) if self._console.is_terminal else None
        self._said = 0
        self._addresses: dict[int, str] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, record: Record) -> None:
        """Draw what is new."""
        if self._live is not None:
            self._live.update(self._table(record))
            return
        done = min(peer.applied_round for peer in record.peers if peer.state != "killed")
        for number in range(self._said + 1, done + 1):
            accuracy = record.accuracy.get(number)
            shown = "" if accuracy is None else f"accuracy {accuracy:.3f}"
            print(f"round {number:3}  k {record.k}  merged {record.merged.get(number, '?')}  {shown}", flush=True)
        self._said = max(self._said, done)

    def _table(self, record: Record) -> Table:
        newest = max(record.rounds, default=0)
        title = f"round {newest} of {self._options.rounds}, {record.phase}, k = {record.k}"
        table = Table(title=title, caption=record.merged.get(newest - 1, ""), min_width=80)
        for heading in ("peer", "digits", "round", "doing", "leads", "accuracy of the merged model"):
            table.add_column(heading)
        for index, peer in enumerate(record.peers):
            digits = " ".join(map(str, digits_of(index, self._options.peers)))
            accuracy = "" if peer.accuracy is None else f"{peer.accuracy:.3f} {'█' * round(peer.accuracy * 20)}"
            table.add_row(str(index), digits, str(peer.round), peer.state, self._leads(record, index), accuracy)
        return table

    def _leads(self, record: Record, index: int) -> str:
        address = self._addresses.get(index)
        return ",".join(str(j) for j, leader in enumerate(record.leaders) if leader == address)

    def know(self, addresses: list[str]) -> None:
        """Which address is which peer."""
        self._addresses = dict(enumerate(addresses))
