"""What all ranks say, and whether they agree, found out between their hosts.

It goes through the store at which the ranks met, so nothing is launched for it and no device is waited
for: ranks can agree while their steps run. A question costs two round trips to the first rank's process, and
waits for the rank that asks it last.
"""

from __future__ import annotations

from torch import distributed

_YES = b"yes"
_NO = b"no"


class Agreement:
    """Questions are told apart by their number: all ranks ask the same ones in the same order."""

    def __init__(self, store: distributed.Store, rank: int, world_size: int) -> None:
        self._store = distributed.PrefixStore("agreement", store)
        self._rank = rank
        self._world_size = world_size
        self._asked = 0

    def of_all(self, consent: bool) -> bool:
        """Whether every rank consents. Raises as `answers` does."""
        return all(answer == _YES for answer in self.answers(_YES if consent else _NO))

    def answers(self, own: bytes) -> list[bytes]:
        """Every rank's answer, in their order. Raises `RuntimeError` when one is lost or does not ask in time."""
        asked = self._asked
        # Bytes are taken as they are, whatever torch's stubs say.
        self._store.set(_place(asked, self._rank), own)  # type: ignore[arg-type]
        answers: list[bytes] = self._store.multi_get(
            [_place(asked, rank) for rank in range(self._world_size)]
        )
        if asked:
            # Who has answered this question has read all answers to the last one.
            self._store.delete_key(_place(asked - 1, self._rank))
        self._asked += 1
        return answers


def _place(asked: int, rank: int) -> str:
    return f"{asked}/{rank}"
