"""What the library costs in time, bytes and memory; each module prints its figures and takes --json."""
