"""Content: files under CIDs, on disk and between peers (docs/protocol.md, sections 5 and 6).

The surface:

* `unixfs`: `hash_file`, `root`, `slice_digest`, `cid`, `parse_cid`: CIDs equal to Kubo's.
* `ContentStore`, `Part`, `Target` (interface.py): where files are, whole and in the making. Blocking, thread-safe.
* `EmbeddedStore(folder, quota=…)`: the store on plain files, one an object.
* `Server(store)`: `await serve(stream, peer)` answers one inbound stream of protocol `CONTENT_PROTOCOL`.
* `Fetcher(store, carrier)`: `fetch_leaf_list`, `fetch_chunks`, `fetch_file`, from whoever has them.
* `Stream`, `Carrier` (interface.py): the connections that these two need, wired by the peer.

A merge, as the peer drives it (what is not awaited runs in a worker thread):

    leaf_list = await fetcher.fetch_leaf_list(update, size, prefer=[origin])
    target = store.begin(update, size, leaf_list).target(0, leaf_list, update)
    await fetcher.fetch_chunks(target, first, end, prefer=[origin])           # verified, and served from now on
    part = store.assemble(name, size)
    part.write_chunk(i, merged)                                               # from store.read_chunk(update, i) of all
    digest = part.seal_slice(first, end)                                      # served: claim it
    part.flush()                                                              # attest it
    leaf_list = await fetcher.fetch_leaf_list(other, prefer=claimants)        # a slice that others merged
    await fetcher.fetch_chunks(part.target(first, leaf_list, other), prefer=claimants)
    part.seal_slice(first, end)
    part.finish(unixfs.root(part.leaf_list(0, part.chunks), size).digest)
"""
