"""One key, two names; and key files that cannot be lost or leaked."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_defunct

from swarmp2p.core.errors import ConfigError, HomeLocked
from swarmp2p.home import Home
from swarmp2p.identity import Key, keccak256, load_key, recover, save_key


def test_address_is_ethereums() -> None:
    key = Key.from_seed("a")
    assert Account.from_key(key.secret).address.lower() == "0x" + key.address.hex()


def test_signature_is_ethereums_and_recovers() -> None:
    key = Key.from_seed("b")
    message = encode_defunct(text="hello")
    digest = _hash_eip191_message(message)
    signature = key.sign(digest)
    assert recover(digest, signature) == key.address
    assert Account.recover_message(message, signature=signature).lower() == "0x" + key.address.hex()


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(64),
        bytes(65),
        bytes(64) + b"\x1b",
        b"\xff" * 64 + b"\x1b",
        b"\x01" * 64 + b"\x00",
    ],
)
def test_malformed_signatures_name_nobody(broken: bytes) -> None:
    assert recover(keccak256(b"x"), broken) is None


def test_malleable_twin_is_refused() -> None:
    digest = keccak256(b"x")
    signature = Key.from_seed("c").sign(digest)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = order - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + high.to_bytes(32, "big") + bytes([55 - signature[64]])
    assert recover(digest, twin) is None


def test_key_file_keeps_the_key_private_and_is_never_overwritten(tmp_path: Path) -> None:
    path, key = tmp_path / "home" / "key", Key.generate()
    save_key(key, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).secret == key.secret
    with pytest.raises(ConfigError, match="already"):
        save_key(Key.generate(), path)
    assert load_key(path).secret == key.secret
    assert [p.name for p in path.parent.iterdir()] == ["key"]


def test_readable_or_broken_key_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="no key"):
        load_key(path)
    save_key(Key.generate(), path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(path)
    path.chmod(0o600)
    for text in ("", "zz", "00" * 32, "ab" * 31):
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_key(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError):
        load_key(path)


def test_keystore_needs_its_password(tmp_path: Path) -> None:
    path, key = tmp_path / "key", Key.generate()
    path.write_text(json.dumps(Account.encrypt(key.secret, "secret", iterations=2)))
    path.chmod(0o600)
    assert load_key(path, "secret").secret == key.secret
    with pytest.raises(ConfigError, match="SWARMP2P_PASSWORD"):
        load_key(path)
    with pytest.raises(ConfigError, match="does not open"):
        load_key(path, "wrong")


def test_home_belongs_to_one_process(tmp_path: Path) -> None:
    with Home.open(tmp_path / "h") as home:
        secret = home.key.secret
        with pytest.raises(HomeLocked, match="home of its own"):
            Home.open(tmp_path / "h")
    with Home.open(tmp_path / "h") as again:
        assert again.key.secret == secret
