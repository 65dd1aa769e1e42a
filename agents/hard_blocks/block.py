"""What a hard block is: a deterministic reason that forbids sending, with the place in the text that gave it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NO_SPAN: Final = -1


class BlockGroup(StrEnum):
    """Who can pass it: `state` and `safety` nobody, `claims` a reviewer who is shown the span, `policy` a reviewer."""

    STATE = "state"
    SAFETY = "safety"
    CLAIMS = "claims"
    POLICY = "policy"


class Rule(StrEnum):
    """Codes of the rules on text, and of the one state rule that is known when a text is judged; the others are SQL."""

    ALREADY_BOOKED = "meeting_already_booked"

    EMPTY = "empty_text"
    OVER_LONG = "over_long"
    PROMPT_REPEATED = "prompt_repeated"
    FENCE_MARK = "fence_mark"
    CONTROL_CHARACTER = "control_character"
    PLACEHOLDER = "placeholder"
    MARKUP = "markup"
    MODEL_TALK = "speaks_to_a_model"
    OTHER_LEAD = "other_lead_data"

    AMOUNT = "amount_not_in_context"
    PERCENTAGE = "percentage_not_in_context"
    DATE = "date_not_in_context"
    WEEKDAY = "weekday_disagrees_with_date"
    TIME = "time_not_in_context"
    MEETING = "meeting_time_not_free"
    LINK = "link_not_in_context"
    EMAIL = "email_not_in_context"
    PHONE = "phone_not_in_context"
    IDENTIFIER = "identifier_not_in_context"
    PROMISE = "promise_not_allowed"
    INSTRUCTIONS = "instructions_repeated"

    TOPIC = "always_ask_topic"
    MAYBE_OPT_OUT = "maybe_opt_out"
    FORBIDDEN_PHRASE = "forbidden_phrase"
    WRONG_LANGUAGE = "wrong_language"
    ASKS_PRIVATE = "asks_for_private_data"


@dataclass(frozen=True)
class HardBlock:
    """`start` and `end` are the span in the checked text, in characters; `NO_SPAN` when no place can be shown."""

    group: BlockGroup
    rule: str
    start: int = NO_SPAN
    end: int = NO_SPAN

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.end
