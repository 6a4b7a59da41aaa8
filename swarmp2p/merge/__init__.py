"""Merging updates, chunk by chunk, to the same bytes on every machine (docs/protocol.md, sections 6 and 8).

`rule` says what a merge rule is and `registry` finds one by its id; `validate` decides which updates are INVALID;
`self_test` checks this machine; `tensors` translates between learners' tensors and safetensors files.
"""
