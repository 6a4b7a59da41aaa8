"""Our round beside other systems' all-reduce, in one run on one machine."""
