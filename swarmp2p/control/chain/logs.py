"""eth_getLogs for the embedded chain: bounded, with the headers' bloom filters to skip blocks."""

from collections.abc import Callable

from eth_bloom.bloom import BloomFilter

from swarmp2p.control.chain.evm import EmbeddedChain
from swarmp2p.control.chain.rpc_values import (
    INVALID_PARAMS,
    SERVER_ERROR,
    Json,
    RpcError,
    address_in,
    block_in,
    data_out,
    fixed_in,
    logs_out,
)

MAX_BLOCKS = 20_000
MAX_LOGS = 10_000
_MAX_ALTERNATIVES = 64


def find_logs(chain: EmbeddedChain, filter_: Json) -> list[dict[str, Json]]:
    """The logs that an eth_getLogs filter asks for, in order. Raises RpcError for a bad or too wide filter."""
    if not isinstance(filter_, dict):
        raise RpcError(INVALID_PARAMS, "the filter is not an object")
    addresses = _alternatives(filter_.get("address"), address_in)
    topics_in = filter_.get("topics") or []
    if not isinstance(topics_in, list) or len(topics_in) > 4:
        raise RpcError(INVALID_PARAMS, "topics is a list of at most four")
    topics = [_alternatives(entry, lambda value: fixed_in(value, 32, "topic")) for entry in topics_in]
    blocks = _blocks(chain, filter_)
    found: list[dict[str, Json]] = []
    for number in blocks:
        header = chain.header(number)
        bloom = BloomFilter(header.bloom)
        if not all(any(value in bloom for value in wanted) for wanted in (addresses, *topics) if wanted):
            continue
        for mined in chain.mined_in(chain.block(number)):
            found.extend(log for log in logs_out(mined) if _matches(log, addresses, topics))
        if len(found) > MAX_LOGS:
            raise RpcError(SERVER_ERROR, f"query returned more than {MAX_LOGS} results")
    return found


def _blocks(chain: EmbeddedChain, filter_: dict[str, Json]) -> range:
    if filter_.get("blockHash") is not None:
        number = chain.block_by_hash(fixed_in(filter_["blockHash"], 32, "hash")).number
        return range(number, number + 1)
    head = int(chain.head.block_number)
    first, _ = block_in(filter_.get("fromBlock"))
    last, _ = block_in(filter_.get("toBlock"))
    first = head if first is None else first
    last = head if last is None else min(last, head)
    if last - first >= MAX_BLOCKS:
        raise RpcError(SERVER_ERROR, f"query exceeds max block range {MAX_BLOCKS}")
    return range(first, last + 1)


def _alternatives(value: Json, parse: Callable[[Json], bytes]) -> list[bytes]:
    """One value or several; an empty list matches everything."""
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    if len(values) > _MAX_ALTERNATIVES:
        raise RpcError(INVALID_PARAMS, f"more than {_MAX_ALTERNATIVES} alternatives in a filter")
    return [parse(entry) for entry in values]


def _matches(log: dict[str, Json], addresses: list[bytes], topics: list[list[bytes]]) -> bool:
    if addresses and log["address"] not in {data_out(address) for address in addresses}:
        return False
    if len(topics) > len(log["topics"]):
        return False
    pairs = zip(topics, log["topics"], strict=False)
    return all(not wanted or topic in {data_out(value) for value in wanted} for wanted, topic in pairs)
