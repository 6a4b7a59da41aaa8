"""Files that a step writes on its way, of which nothing is left when it ends, however it ends."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType


class Scratch:
    """Paths for the time of a `with` block; what is there at its end is removed.

    A learner's thread whose call was given up goes on on its own: it may finish a file when nobody waits for it any more,
    and calls `sweep` after each.

    Args:
        new_path: gives a path that nothing is at yet.
    """

    def __init__(self, new_path: Callable[[], Path]) -> None:
        self._new_path = new_path
        self._paths: list[Path] = []
        self._over = False

    def path(self) -> Path:
        """A new one."""
        return self.also(self._new_path())

    def also(self, path: Path) -> Path:
        """This one too is not to stay."""
        self._paths.append(path)
        return path

    def sweep(self) -> None:
        """Remove what was written after the end; from any thread."""
        if self._over:
            self._remove()

    def _remove(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        self._remove()
