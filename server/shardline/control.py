"""The lifeline to whoever started this process."""

from __future__ import annotations

import os
import threading


def exit_with_parent(descriptor: int) -> None:
    """Ends the process when the pipe reaches its end: its writer, the launcher, is gone."""

    def watch() -> None:
        try:
            while os.read(descriptor, 4096):
                pass
        except OSError:
            pass
        # Other threads may be inside a product or a collective that never returns.
        os._exit(1)

    threading.Thread(target=watch, name="control", daemon=True).start()
