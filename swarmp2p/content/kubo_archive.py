"""A content folder as a stranger reads it (archive.py), whose whole files are in an IPFS node."""

from os import PathLike
from pathlib import Path

from swarmp2p.content.archive import ContentArchive
from swarmp2p.content.kubo import RECORDS
from swarmp2p.content.kubo_api import KuboApi
from swarmp2p.content.record import Record
from swarmp2p.content.unixfs import leaf_at
from swarmp2p.core.types import Digest


class KuboArchive(ContentArchive):
    """The files in a folder of `KuboStore`'s, and in its node, by digest. Changes neither.

    Args:
        folder: the store's.
        api: multiaddr of the node's RPC API.
        auth: user and password, where the node asks for them.

    Raises:
        StoreUnreachable, ConfigError: as `KuboStore`.
    """

    def __init__(self, folder: str | PathLike[str], api: str, *, auth: tuple[str, str] | None = None) -> None:
        super().__init__(folder)
        self._records = Path(folder) / RECORDS
        self._api = KuboApi(api, auth=auth)
        try:
            self._api.check(0.0)
        except BaseException:
            self._api.close()
            raise

    def read_chunk(self, name: Digest, index: int) -> bytes:
        """The bytes where a file's chunk is, as the node gives them. Raises ContentUnavailable."""
        leaf_list = self._in_node(name)
        leaf = leaf_at(leaf_list, index) if leaf_list is not None and index >= 0 else b""
        block = self._api.block(leaf) if leaf else None
        return block if block is not None else super().read_chunk(name, index)

    def _read_leaves(self, name: Digest) -> bytes | None:
        known = self._in_node(name)
        return known if known is not None else super()._read_leaves(name)

    def _in_node(self, name: Digest) -> bytes | None:
        try:
            record = Record.decode((self._records / name.hex()).read_bytes())
        except FileNotFoundError:
            return None
        return record.spans[0].leaf_list if record is not None and record.spans[0].name == name else None

    def close(self) -> None:
        """Close the connections to the node."""
        self._api.close()
