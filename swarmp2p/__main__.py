"""`python -m swarmp2p` is the command line."""

from swarmp2p.cli import main

main()
