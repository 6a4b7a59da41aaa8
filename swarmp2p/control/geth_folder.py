"""The folder in which a network of geth nodes is kept: its genesis, its keys, and what must not change over restarts.

folder/  network.json  genesis.json  purse  password
         validator-1/  keystore/  nodekey  data/  log       rpc-1/  nodekey  data/  log       and so on
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coincurve import PublicKey
from eth_account import Account

from swarmp2p.core.errors import ConfigError
from swarmp2p.core.types import Address
from swarmp2p.identity import Key, load_key, save_key

GETH_CHAIN_ID = 31416
MOST_VALIDATORS = 16
PURSE = 10**9 * 10**18
"""Wei that the genesis gives to the network's purse; play money."""
_GAS_LIMIT = 30_000_000
_EPOCH = 30_000
"""Blocks after which Clique forgets votes on validators; geth's usual number."""
_PASSWORD = "swarmp2p"
"""geth wants one for a keystore. It has to lie beside it, so the file's mode is what protects the key."""
_SCRYPT_ROUNDS = 4096
_FORKS = (
    "homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul", "berlin",
    "london",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodeFolder:
    """One node's place. `signer` is the account that signs its blocks; None: it makes none."""

    path: Path
    signer: Address | None

    @property
    def data(self) -> Path:
        """geth's own folder."""
        return self.path / "data"

    @property
    def keystore(self) -> Path:
        """The folder with the signer's key."""
        return self.path / "keystore"

    @property
    def log(self) -> Path:
        """What the node says; later runs add to it."""
        return self.path / "log"

    @property
    def node_key(self) -> Path:
        """The key by which its peers know it."""
        return self.path / "nodekey"

    def enode(self, port: int) -> str:
        """Its address for peers on this machine that listen on TCP only."""
        public = PublicKey(load_key(self.node_key).public).format(compressed=False)[1:]
        return f"enode://{public.hex()}@127.0.0.1:{port}?discport=0"


@dataclass(frozen=True, slots=True)
class NetworkFolder:
    """A network's place, complete with all keys. `period` is in seconds between blocks."""

    path: Path
    chain_id: int
    period: int
    validators: tuple[NodeFolder, ...]
    rpc_nodes: tuple[NodeFolder, ...]

    @property
    def genesis(self) -> Path:
        """The genesis in geth's form."""
        return self.path / "genesis.json"

    @property
    def purse(self) -> Path:
        """The key of the account that the genesis gives money to."""
        return self.path / "purse"

    @property
    def password(self) -> Path:
        """What opens the keystores."""
        return self.path / "password"


def clique_genesis(
    chain_id: int, period: int, signers: Sequence[Address], alloc: Mapping[Address, int]
) -> dict[str, Any]:
    """A genesis for geth: Clique with these signers, London rules from the first block on.

    Args:
        period: seconds between blocks.
        alloc: wei of each account that has some from the start.

    Raises:
        ConfigError: no signers, or one named twice.
    """
    if not signers or len(set(signers)) != len(signers):
        raise ConfigError("A Clique chain needs signers, each named once.", "Give at least one address.")
    # 32 bytes for anything, the signers in ascending order (geth insists), and 65 for a seal, which a genesis has not.
    extra = bytes(32) + b"".join(sorted(signers)) + bytes(65)
    return {
        "config": {
            "chainId": chain_id,
            **{f"{fork}Block": 0 for fork in _FORKS},
            "clique": {"period": period, "epoch": _EPOCH},
        },
        "difficulty": "0x1",
        "gasLimit": hex(_GAS_LIMIT),
        "extraData": f"0x{extra.hex()}",
        "alloc": {f"0x{account.hex()}": {"balance": hex(wei)} for account, wei in alloc.items()},
    }


def open_network_folder(
    path: Path, *, validators: int, rpc_nodes: int = 0, chain_id: int | None = None, period: int = 1
) -> NetworkFolder:
    """The network kept in this folder, or a new one with new keys. Writes what is missing.

    Args:
        chain_id: of a new network; a kept one must have the same, if given.

    Raises:
        ConfigError: another network is kept there, a number is impossible, or the folder cannot be written.
    """
    if not 1 <= validators <= MOST_VALIDATORS or rpc_nodes < 0 or period < 1:
        raise ConfigError(
            f"A network here has 1 to {MOST_VALIDATORS} validators, no fewer than 0 other nodes, and whole seconds "
            "between blocks, at least 1.",
            "Change these numbers.",
        )
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = _kept(path)
        wanted = {"chain_id": chain_id or kept.get("chain_id", GETH_CHAIN_ID), "period": period}
        wanted["validators"] = validators
        if kept and kept != wanted:
            raise ConfigError(
                f"{path} keeps another network: {_told(kept)}, not {_told(wanted)}.", "Use another folder."
            )
        network = NetworkFolder(
            path.resolve(), wanted["chain_id"], period,
            tuple(_node(path.resolve() / f"validator-{number + 1}", signs=True) for number in range(validators)),
            tuple(_node(path.resolve() / f"rpc-{number + 1}", signs=False) for number in range(rpc_nodes)),
        )  # fmt: skip
        if not kept:
            _write_genesis(network)
            _write(path / "network.json", json.dumps(wanted))
    except OSError as error:
        raise ConfigError(f"The folder {path} cannot be used: {error.strerror}.") from None
    return network


def _kept(path: Path) -> dict[str, int]:
    """What the folder's network.json says; nothing if there is none. It is written last, so all else is there then."""
    file = path / "network.json"
    if not file.exists():
        return {}
    try:
        found = {name: int(value) for name, value in json.loads(file.read_text()).items()}
    except (ValueError, TypeError, AttributeError):
        found = {}
    if found.keys() != {"chain_id", "period", "validators"}:
        raise ConfigError(f"{file} does not describe a network.", "Use another folder.")
    return found


def _told(network: Mapping[str, int]) -> str:
    return f"{network['validators']} validators, chain {network['chain_id']}, {network['period']} s"


def _node(path: Path, *, signs: bool) -> NodeFolder:
    path.mkdir(exist_ok=True, mode=0o700)
    if not (path / "nodekey").exists():
        save_key(Key.generate(), path / "nodekey")
    return NodeFolder(path, _signer(path / "keystore" / "signer.json") if signs else None)


def _signer(keystore: Path) -> Address:
    """Address of the key in this keystore, which is made if missing."""
    if not keystore.exists():
        keystore.parent.mkdir(exist_ok=True, mode=0o700)
        # The usual cost of opening a keystore (1 s and 256 MB, for each node) would protect nothing here.
        _write(keystore, json.dumps(Account.encrypt(Key.generate().secret, _PASSWORD, iterations=_SCRYPT_ROUNDS)))
    return bytes.fromhex(json.loads(keystore.read_text())["address"].removeprefix("0x"))


def _write_genesis(network: NetworkFolder) -> None:
    if not network.purse.exists():
        save_key(Key.generate(), network.purse)
    _write(network.password, _PASSWORD)
    signers = [node.signer for node in network.validators if node.signer is not None]
    genesis = clique_genesis(network.chain_id, network.period, signers, {load_key(network.purse).address: PURSE})
    _write(network.genesis, json.dumps(genesis, indent=2))


def _write(file: Path, text: str) -> None:
    """Whole or not at all, and only for the owner to read."""
    temporary = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as written:
        written.write(text)
    temporary.replace(file)
