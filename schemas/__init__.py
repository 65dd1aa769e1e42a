"""The words of the system: ids, stages, statuses, events, answers, settings and limits. pydantic and stdlib only."""
