"""Content: files under CIDs, on disk and between peers (docs/protocol.md, sections 5 and 6).

The surface:

* `unixfs`: `hash_file`, `root`, `slice_digest`, `cid`, `parse_cid`: CIDs equal to Kubo's.
* `ContentStore`, `Part`, `Target` (interface.py): where files are, whole and in the making. Blocking, thread-safe.
* `EmbeddedStore(folder, quota=…)`: the store on plain files, one an object.
* `Server(store)`: `await serve(stream, peer)` answers one inbound stream of protocol `PROTOCOL_ID`.
* `Fetcher(store, carrier)`: `fetch_leaf_list`, `fetch_range`, `fetch_file`, `fetch_slice_list`, `fetch_slice`.
* `Stream`, `Carrier` (interface.py): the connections that these two need, wired by the peer.

A merge, as the peer drives it (each line of `store.` and `part.` in a worker thread):

    await fetcher.fetch_range(update, size, first, end, prefer=[origin])      # leaf list and chunks, verified
    part = store.assemble(name, size)
    part.write_chunk(i, merged)                                               # from store.read_chunk(update, i) of all
    digest = part.seal_slice(first, end)                                      # flushed, served: claim it
    await fetcher.fetch_slice(other, part, first, end, prefer=claimants)      # what others merged
    merged = unixfs.root(part.leaf_list(0, part.chunks), size).digest
    part.finish(merged)
"""
