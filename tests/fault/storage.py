"""The storage that the locks protect: refuses a write with a lower fencing token than an earlier write or read,
and a read with a lower one than an earlier write."""

import fcntl
import os


class Storage:
    """Shared by processes: one file per key, locked while it is compared and written."""

    def __init__(self, directory):
        self.directory = directory

    def access(self, key, fence, reads):
        """Returns whether the write, or the read, was accepted."""
        path = os.path.join(self.directory, key)
        with open(path, "a+", encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            of_all, of_writes = (int(number) for number in (file.read() or "0 0").split())
            if fence < (of_writes if reads else of_all):
                return False
            file.seek(0)
            file.truncate()
            file.write(f"{max(fence, of_all)} {of_writes if reads else fence}")
        return True
