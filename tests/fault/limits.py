"""Limits that the run, its workers and the checker share. Times are in seconds."""

MAX_TTLS = (2.0, 2.5)  # of the node set: the first one at first; the workers' TTLs are at most half of either
MAX_TTL = max(MAX_TTLS)
GRACES = (0.4, 1.5)  # the workers' disconnect_grace: one shorter than some of their TTLs, one longer than all
GRACE = max(GRACES)
LONGEST_FAULT = 3.0
# Of a daemon's wall clock, in either direction: they differ by less than the longest TTL.
CLOCK_SKEW = 0.45 * min(MAX_TTLS)
PATIENCE = 1.0  # of a worker with one call
WAIT = 4.0  # of an acquisition that must succeed if its daemon has a quorum meanwhile
SHARED_KEYS = 3
SEMAPHORES = 1
MAX_HOLDERS = 3  # of each semaphore
