"""The consumer groups by topic, as dashboards know them."""

from typing import Final

from schemas.topics import DRAFT_EVALUATED, DRAFT_REQUESTED, INBOUND_MESSAGE, REVIEW_COMMAND, REVISION_RESULT

CONSUMED: Final = (INBOUND_MESSAGE, DRAFT_REQUESTED, DRAFT_EVALUATED, REVISION_RESULT, REVIEW_COMMAND)
GROUPS: Final[dict[str, str]] = {topic.name: f"draft-pipeline-{topic.name}" for topic in CONSUMED}
