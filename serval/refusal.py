"""The one exception for things a person can mend: it names the input, what is wrong with it, and the remedy."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 - a refusal is an outcome, not a fault
    """An input that Serval will not take.

    The text is one line, safe to show to a person: ``what: why; remedy``. The command line prints it and exits with
    code 2. Anything else that escapes is a defect of Serval's.
    """

    def __init__(self, what: str, why: str, remedy: str = "") -> None:
        self.what, self.why, self.remedy = what, why, remedy
        super().__init__(f"{what}: {why}" + (f"; {remedy}" if remedy else ""))

    def __reduce__(self) -> tuple[type[Refusal], tuple[str, str, str]]:
        """So that it comes whole out of another process."""
        return type(self), (self.what, self.why, self.remedy)
