"""One line of a file for `import-history`: a message as another system kept it, or a draft that it made of one."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from schemas.events import Identifier, InboundMessage, ShortText, Text
from schemas.limits import DRAFT_CHARS_MAX

DraftText = Annotated[Text, Field(max_length=DRAFT_CHARS_MAX)]


class HistoryMessage(InboundMessage):
    """A message, with the fields of `inbound-message`; both directions. `human` false: a machine wrote it."""

    kind: Literal["message"]
    schema_version: Literal[1] = 1
    human: bool = True


class HistoryDraft(BaseModel):
    """A draft for `trigger_message_id`, a message of the same file or of the pipeline.

    `sent_message_id` names the outbound message by which it was sent; `delayed`: on purpose later; `edited`: with a
    person's text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["draft"]
    workspace_id: Identifier
    trigger_message_id: Identifier
    content: DraftText
    mode: Literal["AI_AUTO_SEND", "LEGACY_AUTO_REPLY", "DRAFT_ONLY"]
    status: Literal["pending", "sent", "rejected", "superseded", "expired"]
    created_at: AwareDatetime
    recipient: ShortText | None = None
    language: ShortText | None = None
    sent_message_id: Identifier | None = None
    delayed: bool = False
    edited: bool = False


HistoryLine = HistoryMessage | HistoryDraft
history_line: TypeAdapter[HistoryLine] = TypeAdapter(Annotated[HistoryLine, Field(discriminator="kind")])
