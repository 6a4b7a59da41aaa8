// A Helia node that does what it is told: a command a line as JSON on its standard input, an answer a line on its
// standard output, the first of which is its own address. It is closed: it listens on 127.0.0.1, and knows no routing
// and no gateways.
//
//   {"do": "add", "path"}                     adds a file in the swarm's profile: {"cid"}
//   {"do": "get", "cid", "path", "from"}      fetches a file from the node at a multiaddr: {"seconds"}
//   {"do": "cids", "path", "sizes"}           CIDs of the first bytes of a file, so many each: {"cids"}

import { createReadStream, createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import { CID } from 'multiformats/cid'

const PROFILE = {
  cidVersion: 1,
  rawLeaves: true,
  chunker: fixedSize({ chunkSize: 262144 }),
  layout: balanced({ maxChildrenPerNode: 174 })
}
const NOWHERE = { async put () {}, async get () { throw new Error('nothing is kept here') }, async has () { return false } }

const helia = await withBitswap(withLibp2pLight(createHeliaLight(), {
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() }
})).start()
const files = unixfs(helia)
const hashing = unixfs({ blockstore: NOWHERE })

const COMMANDS = {
  async add ({ path }) {
    const cid = await files.addByteStream(createReadStream(path), PROFILE)
    return { cid: cid.toString() }
  },
  async get ({ cid, path, from }) {
    const start = performance.now()
    await helia.libp2p.dial(multiaddr(from))
    const source = files.cat(CID.parse(cid), { providers: [multiaddr(from)] })
    await pipeline(Readable.from(source), createWriteStream(path))
    return { seconds: (performance.now() - start) / 1000 }
  },
  async cids ({ path, sizes }) {
    const cids = []
    for (const size of sizes) {
      const bytes = size === 0 ? [] : createReadStream(path, { end: size - 1 })
      cids.push((await hashing.addByteStream(bytes, PROFILE)).toString())
    }
    return { cids }
  }
}

function say (answer) {
  process.stdout.write(JSON.stringify(answer) + '\n')
}

say({ multiaddr: helia.libp2p.getMultiaddrs()[0].toString() })
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  try {
    say(await COMMANDS[command.do](command))
  } catch (error) {
    say({ error: String(error?.stack ?? error) })
  }
}
await helia.stop()
process.exit(0)
