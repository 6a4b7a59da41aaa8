"""The content store on a real Kubo."""

import random
import signal
import subprocess
import sys
import threading
from base64 import b32encode
from collections.abc import Iterator
from pathlib import Path

import ipfshttpclient
import pytest
from multiformats import CID

from interop.cid_sizes import COUNT, files
from interop.kubo_node import KuboNode, kubo_node, needs_kubo
from swarmp2p.content.embedded import EmbeddedStore
from swarmp2p.content.kubo import KuboStore
from swarmp2p.content.unixfs import cid, hash_bytes
from swarmp2p.core.errors import ContentCorrupt
from swarmp2p.core.types import CHUNK_SIZE
from swarmp2p.testing.content_checks import check_content_store
from tests.content.wire import pattern

pytestmark = needs_kubo

SIZE = 5 * CHUNK_SIZE + 77


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    with kubo_node(tmp_path_factory.mktemp("kubo") / "repo") as running:
        yield running


@pytest.fixture
def store(node: KuboNode, tmp_path: Path) -> Iterator[KuboStore]:
    opened = KuboStore(tmp_path / "content", node.api)
    yield opened
    opened.collect(())
    opened.close()


def pinned(node: KuboNode) -> dict[str, str]:
    """CIDs and names of the node's recursive pins, as its own command line lists them."""
    lines = [line.split() for line in node("pin", "ls", "--type=recursive", "--names").splitlines()]
    return {text: " ".join(name) for text, _, *name in lines}


def here(node: KuboNode) -> set[str]:
    """All blocks on the node's disk."""
    return set(node("refs", "local").split())


def test_it_is_a_content_store(node: KuboNode, tmp_path: Path) -> None:
    made: list[KuboStore] = []

    def maker() -> KuboStore:
        # The check wants an empty store each time, and the node is one for all.
        if made:
            emptied = KuboStore(tmp_path / str(len(made) - 1), node.api)
            emptied.collect(())
            emptied.close()
        made.append(KuboStore(tmp_path / str(len(made)), node.api))
        return made[-1]

    check_content_store(maker)


def test_what_put_returned_is_pinned_and_any_ipfs_program_can_read_it(
    node: KuboNode, store: KuboStore, tmp_path: Path
) -> None:
    data = pattern(SIZE)
    text = str(cid(store.put(data).digest, SIZE))
    assert pinned(node)[text] == "swarmp2p"
    assert node.raw("cat", text) == data
    assert not list((tmp_path / "content" / "objects").iterdir()), "no second copy on this disk"


def test_a_finished_part_is_pinned_under_the_same_cid(node: KuboNode, store: KuboStore) -> None:
    data = pattern(SIZE, 1)
    hashed = hash_bytes(data)
    part = store.begin(hashed.digest, SIZE, hashed.leaf_list)
    for index in part.missing():
        part.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    part.finish(hashed.digest)
    text = str(cid(hashed.digest, SIZE))
    assert pinned(node)[text] == "swarmp2p"
    assert (
        node("add", "--only-hash", "--cid-version=1", "--raw-leaves", "--chunker=size-262144", "-Q", data=data) == text
    )


def test_collecting_unpins_and_frees_the_room_but_not_of_what_others_pin(node: KuboNode, store: KuboStore) -> None:
    mine, shared = pattern(SIZE, 2), pattern(2 * CHUNK_SIZE, 2) + b"the end is another"
    before = here(node)
    theirs = node(
        "add", "--cid-version=1", "--raw-leaves", "--chunker=size-262144", "-Q", "--pin-name=user", data=shared
    )
    hashed = store.put(mine)
    assert str(cid(store.put(shared).digest, len(shared))) == theirs
    assert store.collect(()) == len(mine) + len(shared)
    assert pinned(node).get(theirs) == "user", "a pin of somebody else's stays as it is"
    assert node.raw("cat", theirs) == shared, "with the chunks that it has in common with what was collected"
    leaves = [hashed.leaf_list[at : at + 32] for at in range(0, len(hashed.leaf_list), 32)]
    left = [leaf in hash_bytes(shared).leaf_list for leaf in leaves if str(cid(leaf, 0)) in here(node)]
    assert left == [True, True], "of the collected file nothing is left but what the other has too"
    node("pin", "rm", theirs)
    node("repo", "gc")
    assert here(node) <= before


def test_a_new_store_on_the_same_folder_has_what_the_old_one_had(node: KuboNode, tmp_path: Path) -> None:
    data = pattern(SIZE, 3)
    store = KuboStore(tmp_path, node.api)
    digest = store.put(data).digest
    slice_ = store.assemble("round-1", SIZE)
    slice_.write_chunk(2, data[2 * CHUNK_SIZE : 3 * CHUNK_SIZE])
    name = slice_.seal_slice(2, 3)
    store.close()

    again = KuboStore(tmp_path, node.api)
    assert again.digests() == {digest}
    assert again.read(digest) == data
    assert again.read_chunk(name, 0) == data[2 * CHUNK_SIZE : 3 * CHUNK_SIZE]
    node("pin", "rm", str(cid(digest, SIZE)))
    again.close()

    unpinned = KuboStore(tmp_path, node.api)
    assert not unpinned.has(digest), "the node may have collected it by now"
    unpinned.collect(())
    unpinned.close()


def test_files_of_an_embedded_store_move_into_the_node(node: KuboNode, tmp_path: Path) -> None:
    embedded = EmbeddedStore(tmp_path)
    hashed = embedded.put(pattern(SIZE, 4))
    embedded.close()
    store = KuboStore(tmp_path, node.api)
    assert str(cid(hashed.digest, SIZE)) in pinned(node)
    assert store.used() == SIZE
    assert store.path(hashed.digest).read_bytes() == pattern(SIZE, 4)
    store.collect(())
    store.close()


def test_cids_of_random_sizes_are_kubos(node: KuboNode, tmp_path: Path) -> None:
    """What its API says for our profile; once by its command line too."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    file = tmp_path / "file"
    count = 0
    with ipfshttpclient.Client(node.api, timeout=60) as client:
        for data in files(seed):
            file.write_bytes(data)
            made = client.add(file, only_hash=True, cid_version=1, raw_leaves=True, chunker="size-262144", pin=False)
            assert made["Hash"] == str(cid(hash_bytes(data).digest, len(data))), f"{len(data)} bytes, seed {seed}"
            count += 1
    assert count == COUNT
    options = ["--only-hash", "--cid-version=1", "--raw-leaves", "--chunker=size-262144", "-q"]
    assert node("add", *options, file) == str(cid(hash_bytes(data).digest, len(data)))


def block_file(node: KuboNode, text: str) -> Path:
    """Where the node keeps a block: flatfs, named by the base32 of its multihash."""
    (path,) = node.repo.glob(f"blocks/*/{multihash_name(text)}.data")
    return path


def multihash_name(text: str) -> str:
    """A block's name in flatfs."""
    return b32encode(bytes(CID.decode(text).digest)).decode().rstrip("=")


@pytest.mark.parametrize("fault", ["rotten", "gone"])
def test_a_block_that_the_node_lost_can_be_fetched_again(node: KuboNode, store: KuboStore, fault: str) -> None:
    data = pattern(SIZE, 5)
    hashed = store.put(data)
    leaf = hashed.leaf_list[3 * 32 : 4 * 32]
    path = block_file(node, str(cid(leaf, 0)))
    if fault == "rotten":
        path.write_bytes(b"rotten")
        with pytest.raises(ContentCorrupt):
            store.read(hashed.digest)
    else:
        path.unlink()
        with pytest.raises(Exception, match="not here"):
            store.read(hashed.digest)
    assert not store.has(hashed.digest)
    part = store.begin(hashed.digest, SIZE, hashed.leaf_list)
    assert part.missing() == [3], "the others are kept"
    part.write_chunk(3, data[3 * CHUNK_SIZE : 4 * CHUNK_SIZE])
    part.finish(hashed.digest)
    assert store.read(hashed.digest) == data
    assert node.raw("cat", str(cid(hashed.digest, SIZE))) == data


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_node_is_waited_for(tmp_path: Path, how: signal.Signals) -> None:
    """What was put before is there, and calls that come while it is away succeed when it is back."""
    with kubo_node(tmp_path / "repo") as own:
        store = KuboStore(tmp_path / "content", own.api, patience=60.0)
        before = store.put(pattern(SIZE, 6))
        own.stop(how)
        done: list[bytes] = []

        def use() -> None:
            done.append(store.read(before.digest))
            done.append(store.put(pattern(SIZE, 7)).digest)

        user = threading.Thread(target=use)
        user.start()
        own.start()
        user.join(60)
        assert done == [pattern(SIZE, 6), hash_bytes(pattern(SIZE, 7)).digest]
        assert {str(cid(digest, SIZE)) for digest in store.digests()} <= pinned(own).keys()
        store.close()


def test_a_node_that_adds_files_in_another_way_by_itself_makes_our_cids_too(tmp_path: Path) -> None:
    """Users choose import profiles, and Kubo's own defaults change."""
    other = KuboNode(tmp_path / "repo")
    other.configure("Import.CidVersion", 1)
    other.configure("Import.UnixFSRawLeaves", False)
    other.configure("Import.UnixFSChunker", "size-1048576")
    other.configure("Import.UnixFSFileMaxLinks", 1024)
    other.configure("Import.HashFunction", "sha2-512")
    other.start()
    try:
        data = pattern(180 * CHUNK_SIZE)
        text = str(cid(hash_bytes(data).digest, len(data)))
        assert other("add", "--only-hash", "-Q", data=data) != text, "it would"
        store = KuboStore(tmp_path / "content", other.api)
        store.put(data)
        assert pinned(other)[text] == "swarmp2p"
        store.close()
    finally:
        other.stop()


WRITER = """
import sys
sys.path.insert(0, {root!r})
from swarmp2p.content.kubo import KuboStore
from swarmp2p.content.unixfs import hash_bytes
from swarmp2p.core.types import CHUNK_SIZE
from tests.content.wire import pattern
store = KuboStore({folder!r}, {api!r})
print("open", flush=True)
for seed in range({first}, {first} + 1000):
    data = pattern(2 * CHUNK_SIZE + seed, seed)
    hashed = hash_bytes(data)
    if seed % 2:
        store.put(data)
    else:
        part = store.begin(hashed.digest, hashed.size, hashed.leaf_list)
        for index in part.missing():
            part.write_chunk(index, data[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
        part.finish(hashed.digest)
    print(hashed.digest.hex(), flush=True)
    if seed % 7 == 6:
        print("collecting", flush=True)
        store.collect([hashed.digest])
"""


def test_a_peer_killed_at_any_instant_leaves_nothing_pinned_that_it_does_not_know(
    node: KuboNode, tmp_path: Path
) -> None:
    """What put or finish had returned is pinned, and whole."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    names = {"root": str(Path(__file__).parents[1]), "folder": str(tmp_path), "api": node.api}
    before = set(pinned(node))  # by stores of other folders
    for attempt in range(5):
        code = WRITER.format(first=1000 * attempt, **names)
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer.stdout as said:
            assert said.readline() == "open\n"
            lines = [said.readline().strip() for _ in range(chance.randint(1, 12))]
            threading.Event().wait(chance.random() / 20)  # somewhere within the next file
            writer.kill()
            lines += said.read().split()
        writer.wait()
        kept = lines[len(lines) - 1 - lines[::-1].index("collecting") - 1 :] if "collecting" in lines else lines
        promised = {bytes.fromhex(line) for line in kept if line not in ("collecting", "")}
        store = KuboStore(tmp_path, node.api)
        assert promised <= store.digests(), f"seed {seed}"
        whole = {digest for digest in store.digests() if store.has(digest)}
        assert promised <= whole
        pins = {text for text, name in pinned(node).items() if name == "swarmp2p"}
        assert pins - before == {str(cid(digest, store.size(digest))) for digest in whole}, f"seed {seed}"
        for digest in promised:
            assert hash_bytes(store.read(digest)).digest == digest
        store.collect(())
        store.close()
