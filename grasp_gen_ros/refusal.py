"""Why a request isn't answered with grasps."""

from __future__ import annotations


class Refusal(RuntimeError):
    """What was asked for isn't done.

    Args:
        code: of ResultCode.
        text: for users.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
