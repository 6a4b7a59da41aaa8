"""For all tests."""

from hypothesis import settings

# How long an example takes depends on what else the machine does; slow code is for the benchmarks to show.
settings.register_profile("swarmp2p", deadline=None)
settings.load_profile("swarmp2p")
