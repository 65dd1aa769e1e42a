"""The statements, one file per concern. `sql.run.take_lease_if_free` is the query of that name in `run.sql`."""

from db.queries import Queries, Query

ingest = Queries("ingest")
run = Queries("run")
model_call = Queries("model_call")
outbox = Queries("outbox")
draft = Queries("draft")
delivery = Queries("delivery")
review = Queries("review")
admin = Queries("admin")
ops = Queries("ops")
quality = Queries("quality")
sign_in = Queries("sign_in")
overview = Queries("overview")
booking = Queries("booking")
slot = Queries("slot")
knowledge = Queries("knowledge")
metrics = Queries("metrics")
queue = Queries("queue")
housekeeping = Queries("housekeeping")
history = Queries("history")
analytics = Queries("analytics")
ai_ops = Queries("ai_ops")
control = Queries("control")
run_list = Queries("run_list")
quarantine = Queries("quarantine")

__all__ = [
    "Query",
    "admin",
    "ai_ops",
    "analytics",
    "booking",
    "control",
    "delivery",
    "draft",
    "history",
    "housekeeping",
    "ingest",
    "knowledge",
    "metrics",
    "model_call",
    "ops",
    "outbox",
    "overview",
    "quality",
    "quarantine",
    "queue",
    "review",
    "run",
    "run_list",
    "sign_in",
    "slot",
]
