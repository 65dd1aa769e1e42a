"""What judgement may raise. Codes only: no text of a message, a draft or an answer gets into an exception."""

from typing import TypeVar

from schemas.answers import Answer

Kind = TypeVar("Kind", bound=Answer)


class UnusableAnswer(Exception):
    """The answer parsed and is still no answer. `code` says why and is safe to log."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def expect(kind: type[Kind], answer: Answer) -> Kind:
    """`answer`, known to be of `kind`. Raises `UnusableAnswer` for the answer of another stage."""
    if not isinstance(answer, kind):
        raise UnusableAnswer("wrong_answer_type")
    return answer
