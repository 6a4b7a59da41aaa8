"""The control layer: the contract as the only authority, over any EVM chain.

    interface    `Control`: what a peer needs of the contract, and the journal that it wants
    contract     `SwarmContract`, `deploy`: the contract over JSON-RPC
    rpc          `RpcClient`: one or more nodes, with fail-over; node is one of them, heights tells if it lags
    sender       `Sender`: transactions until they are in a block; nonces, fees, transaction, refusal are its parts
    events       logs by cursor; history makes records of them
    abi_codec    the ABI
    manifest     `swarm.toml`; manifest_form has its keys and its text, toml_form the strict reader
    invitation   files that founders sign and invitees enrol with
    chain        the embedded chain
    anvil, geth  other chains in processes of ours; geth_folder has the network's keys, geth_node a node's process
    faucet       money for gas on all of them

Modules are imported one by one: the embedded chain needs the extra `chain`, and nothing else does.
"""
