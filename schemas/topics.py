"""The topics: who they are for, how they are cut and how long they are kept. One table for creation and docs."""

from dataclasses import dataclass, field

from schemas.limits import DEAD_LETTER_RECORD_BYTES_MAX, INBOUND_RECORD_BYTES_MAX

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: int
    retention_days: int
    public: bool
    purpose: str
    record_bytes_max: int | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, str]:
        """Kafka topic configuration, as `topics create` sets it."""
        config = {"cleanup.policy": "delete", "retention.ms": str(self.retention_days * _DAY_MS)}
        if self.record_bytes_max is not None:
            config["max.message.bytes"] = str(self.record_bytes_max)
        return config | self.extra


INBOUND_MESSAGE = Topic("inbound-message", 12, 7, True, "messages as producers saw them", INBOUND_RECORD_BYTES_MAX)
DRAFT_REQUESTED = Topic("draft-requested", 12, 7, False, "messages that wait for a draft")
DRAFT_EVALUATED = Topic("draft-evaluated", 12, 30, True, "drafts with confidence and blocks")
REVISION_RESULT = Topic("revision-result", 12, 30, True, "what became of each draft's one revision")
DRAFT_OUTCOME = Topic("draft-outcome", 12, 30, True, "every change of a draft's fate")
REVIEW_COMMAND = Topic("review-command", 12, 7, False, "decisions of people")
DEAD_LETTER = Topic("dead-letter", 3, 7, False, "records that could not be used", DEAD_LETTER_RECORD_BYTES_MAX)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        INBOUND_MESSAGE,
        DRAFT_REQUESTED,
        DRAFT_EVALUATED,
        REVISION_RESULT,
        DRAFT_OUTCOME,
        REVIEW_COMMAND,
        DEAD_LETTER,
    )
}
