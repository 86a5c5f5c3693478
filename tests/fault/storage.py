"""The storage that the locks protect: refuses a write with a lower fencing token than an earlier write."""

import fcntl
import os


class Storage:
    """Shared by processes: one file per key, locked while it is compared and written."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, key, fence):
        """Returns whether the write was accepted."""
        path = os.path.join(self.directory, key)
        with open(path, "a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            highest = int(file.read() or 0)
            if fence < highest:
                return False
            file.seek(0)
            file.truncate()
            file.write(str(fence))
        return True
