"""Limits that the run, its workers and the checker share. Times are in seconds."""

MAX_TTL = 2.0  # of the daemons; the workers' TTLs are at most half of it
GRACES = (0.4, 1.5)  # the workers' disconnect_grace: one shorter than some of their TTLs, one longer than all
GRACE = max(GRACES)
LONGEST_FAULT = 3.0
CLOCK_SKEW = 0.45 * MAX_TTL  # of a daemon's wall clock, in either direction: they differ by less than MAX_TTL
PATIENCE = 1.0  # of a worker with one call
SHARED_KEYS = 3
