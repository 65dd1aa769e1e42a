"""Statements that no correct code sends, with the constraint that must refuse each; and some that must pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nonsense:
    """A statement that must be refused, by `constraint` (its name, or a part of it)."""

    what: str
    statement: str
    constraint: str
    before: str = "SELECT 1"


RUN = "UPDATE draft_pipeline_run SET status = '{0}', phase = 'done', reason = 'r', finished_at = now()"
CALL = (
    "INSERT INTO model_call (id, run_id, draft_id, workspace_id, stage, iteration, attempt, model, effort,"
    " input_sha256, status, finished_at) SELECT gen_random_uuid(), r.id, r.draft_id, r.workspace_id, '{0}', {1}, {2},"
    " 'm', 'low', '', '{3}', now() FROM draft_pipeline_run r"
)
SEND = (
    "INSERT INTO delivery (id, draft_id, workspace_id, lead_id, trigger_message_id, channel, automatic, content,"
    " content_sha256, confirmed_by, approved_by, status, finished_at) SELECT gen_random_uuid(), d.id, d.workspace_id,"
    " d.lead_id, d.trigger_message_id, d.channel, {0}, 'text', '', {1}, {2}, '{3}',"
    " CASE WHEN '{3}' IN ('scheduled', 'claimed') THEN NULL ELSE now() END FROM ai_draft d"
)
ARTIFACT = (
    "INSERT INTO draft_pipeline_artifact (id, run_id, stage, iteration, prompt_key, input_sha256, model, payload)"
    " SELECT gen_random_uuid(), id, '{0}', {1}, '', '{2}', '', '{3}' FROM draft_pipeline_run"
)
SHA = "a" * 64
TELEMETRY = (
    "INSERT INTO ai_interaction (id, workspace_id, feature_id, source, model, status, metadata)"
    " VALUES (gen_random_uuid(), 'w', 'f', 'pipeline', 'm', 'answered', '{0}')"
)
SENT = "UPDATE ai_draft SET status = 'sent'"
CLAIM = (
    "INSERT INTO draft_claim (draft_id, purpose, token, claimed_by, lease_until)"
    " SELECT id, 'revision', gen_random_uuid(), 'w', now() FROM ai_draft"
)

BOOKED_SLOT = (
    "INSERT INTO availability_slot (workspace_id, starts_at, ends_at)"
    " SELECT id, '2030-01-01 10:00Z', '2030-01-01 10:30Z' FROM workspace"
)
BOOKING = (
    "INSERT INTO booking (id, workspace_id, lead_id, draft_id, slot_id, starts_at, ends_at, status, external_id, source)"
    " SELECT gen_random_uuid(), d.workspace_id, d.lead_id, {0}, a.id, a.starts_at, a.ends_at, '{1}', {2}, {3}"
    " FROM ai_draft d, availability_slot a"
)
FOLLOWUP = (
    "INSERT INTO followup_task (id, workspace_id, lead_id, draft_id, outcome)"
    " SELECT gen_random_uuid(), workspace_id, lead_id, id, '{0}' FROM ai_draft"
)

NONSENSE = [
    Nonsense("a terminal run reopened", "UPDATE draft_pipeline_run SET status = 'RUNNING', phase = 'draft',"
             " finished_at = NULL", "run_", RUN.format("COMPLETED")),
    Nonsense("a terminal run given another end", RUN.format("FAILED"), "run_status_forward_only", RUN.format("ABORTED")),
    Nonsense("a terminal run's reason rewritten", "UPDATE draft_pipeline_run SET reason = 'nicer'",
             "run_status_forward_only", RUN.format("FAILED")),
    Nonsense("a run that ends without a reason", "UPDATE draft_pipeline_run SET status = 'FAILED', phase = 'done',"
             " finished_at = now()", "draft_pipeline_run_check"),
    Nonsense("a run that ends without a time", "UPDATE draft_pipeline_run SET status = 'FAILED', phase = 'done',"
             " reason = 'r'", "draft_pipeline_run_check"),
    Nonsense("a running run that is done", "UPDATE draft_pipeline_run SET phase = 'done'", "draft_pipeline_run_check"),
    Nonsense("a phase that goes back", "UPDATE draft_pipeline_run SET phase = 'draft'", "run_phase_forward_only",
             "UPDATE draft_pipeline_run SET phase = 'dispatch'"),
    Nonsense("a run with an unknown status", "UPDATE draft_pipeline_run SET status = 'PAUSED'", "draft_pipeline_run_"),
    Nonsense("a second run for one attempt", "INSERT INTO draft_pipeline_run (id, workspace_id, lead_id,"
             " trigger_message_id, draft_id, channel, policy_revision, lease_owner, lease_until) SELECT"
             " gen_random_uuid(), workspace_id, lead_id, trigger_message_id, draft_id, channel, 1, 'w', now()"
             " FROM draft_pipeline_run", "draft_pipeline_run_workspace_id_trigger_message_id_channel"),
    *(Nonsense(f"a sent draft made {status}", f"UPDATE ai_draft SET status = '{status}'", "draft_sent_stays_sent", SENT)
      for status in ("pending", "scheduled", "rejected", "superseded", "suppressed", "expired", "unknown")),
    Nonsense("a confidence above 1", "UPDATE ai_draft SET auto_send_confidence = 1.01", "confidence_check"),
    Nonsense("a confidence that is NaN", "UPDATE ai_draft SET auto_send_confidence = 'NaN'", "confidence_check"),
    Nonsense("a fourth revision iteration", "UPDATE ai_draft SET auto_send_revision_iterations = 4", "iterations_check"),
    Nonsense("a second revision claim", CLAIM, "draft_claim_pkey", CLAIM),
    Nonsense("a claim settled without an outcome", "UPDATE draft_claim SET settled_at = now()", "draft_claim_check",
             CLAIM),
    Nonsense("a second selector call", CALL.format("auto_send_revision_selector", 1, 2, "failed"),
             "model_call_one_revision_attempt", CALL.format("auto_send_revision_selector", 1, 1, "answered")),
    Nonsense("a second reviser call in an iteration", CALL.format("auto_send_revision_reviser", 2, 2, "answered"),
             "model_call_one_revision_attempt", CALL.format("auto_send_revision_reviser", 2, 1, "unusable")),
    Nonsense("a second re-evaluation in an iteration", CALL.format("auto_send_evaluation", 1, 2, "answered"),
             "model_call_one_revision_attempt", CALL.format("auto_send_evaluation", 1, 1, "failed")),
    Nonsense("a call of iteration 4", CALL.format("auto_send_revision_reviser", 4, 1, "failed"), "iteration_check"),
    Nonsense("one attempt recorded twice", CALL.format("draft_generation_step2", 0, 1, "failed"),
             "model_call_run_id_stage_iteration_attempt", CALL.format("draft_generation_step2", 0, 1, "failed")),
    Nonsense("a second automatic reply to one trigger", SEND.format("true", "NULL", "NULL", "scheduled"), "delivery_one",
             SEND.format("true", "NULL", "NULL", "sent")),
    Nonsense("a person's send beside an automatic one", SEND.format("false", "NULL", "'p'", "scheduled"),
             "delivery_one_per_draft", SEND.format("true", "NULL", "NULL", "unknown")),
    Nonsense("a person's send without the person", SEND.format("false", "NULL", "NULL", "scheduled"), "delivery_check"),
    Nonsense("a claimed send with an end", "UPDATE delivery SET finished_at = now()", "delivery_check",
             SEND.format("true", "NULL", "NULL", "claimed")),
    Nonsense("an artifact over 32,768 bytes", ARTIFACT.format("s", 0, SHA, '{"text": "' + "x" * 32_757 + '"}'),
             "payload_fits"),
    Nonsense("an artifact that jsonb makes larger", ARTIFACT.format("s", 0, SHA, "[" + ",".join(["1e300"] * 120) + "]"),
             "payload_fits"),
    Nonsense("two artifacts of one stage and iteration", ARTIFACT.format("s", 1, SHA, "{}"), "run_id_stage_iteration",
             ARTIFACT.format("s", 1, SHA, "{}")),
    Nonsense("an artifact of iteration 4", ARTIFACT.format("s", 4, SHA, "{}"), "iteration_check"),
    Nonsense("an artifact without the hash of its input", ARTIFACT.format("s", 0, "", "{}"), "input_sha256_check"),
    *(Nonsense(f"telemetry that holds {what}", TELEMETRY.format(value), "metadata_textless") for what, value in (
        ("a text", '{"iteration": "one"}'), ("a text in a list", '{"retry": ["x"]}'), ("an object", '{"retry": {}}'),
        ("a null", '{"retry": null}'), ("an unknown key", '{"subject": 1}'), ("no object", "[]"), ("a scalar", "1"))),
    Nonsense("an outbound message that waits", "UPDATE message SET disposition = 'outbound'", "message_check"),
    Nonsense("one message id twice", "INSERT INTO message (id, workspace_id, lead_id, channel, message_id, direction,"
             " mode, body, disposition, received_at) SELECT gen_random_uuid(), workspace_id, lead_id, 'email',"
             " message_id, direction, mode, body, disposition, now() FROM message", "message_workspace_id_message_id"),
    Nonsense("a draft that is to be made in mode OFF", "UPDATE ai_draft SET mode = 'OFF'", "mode_check"),
    Nonsense("a switch nobody knows", "INSERT INTO kill_switch (name) VALUES ('EVERYTHING')", "kill_switch_name_check"),
    Nonsense("a threshold above 1", "INSERT INTO confidence_policy_revision (scope, auto_send_threshold, created_by,"
             " reason) VALUES ('global', 1.5, 'p', 'r')", "auto_send_threshold_check"),
    Nonsense("a policy revision rewritten", "UPDATE confidence_policy_revision SET auto_send_threshold = 0",
             "append_only"),
    Nonsense("a campaign policy without campaign", "INSERT INTO confidence_policy_revision (scope, workspace_id,"
             " created_by, reason) SELECT 'campaign', id, 'p', 'r' FROM workspace", "confidence_policy_revision_check"),
    *(Nonsense(f"the audit {what}", statement, "admin_audit_append_only", "INSERT INTO admin_audit (actor, via, action,"
               " subject) VALUES ('a', 'cli', 'x', 's')") for what, statement in (
        ("rewritten", "UPDATE admin_audit SET actor = 'b'"), ("shortened", "DELETE FROM admin_audit"))),
    Nonsense("one waiting request too many in a conversation", "INSERT INTO outbox (event_id, topic, workspace_id,"
             " conversation) SELECT gen_random_uuid(), topic, workspace_id, conversation FROM outbox",
             "outbox_one_waiting", "INSERT INTO outbox (event_id, topic, workspace_id, conversation)"
             " VALUES (gen_random_uuid(), 'draft-requested', 'w', 'c')"),
    Nonsense("one event twice on a topic", "INSERT INTO outbox (event_id, topic) SELECT event_id, topic FROM outbox",
             "outbox_topic_event_id", "INSERT INTO outbox (event_id, topic) VALUES (gen_random_uuid(), 't')"),
    *(Nonsense(f"a slot {status} twice", BOOKING.format("NULL", status, "'cal-1'", "'outside'"), "booking_slot_once",
               f"{BOOKED_SLOT}; " + BOOKING.format("NULL", "held", "'cal-2'", "'outside'"))
      for status in ("held", "confirmed")),
    Nonsense("a second booking for a draft", BOOKING.format("d.id", "released", "NULL", "'draft-pipeline'"),
             "booking_one_per_draft",
             f"{BOOKED_SLOT}; " + BOOKING.format("d.id", "released", "NULL", "'draft-pipeline'")),
    Nonsense("an outside booking without its name", BOOKING.format("NULL", "held", "NULL", "'outside'"),
             "booking_external_means_outside", BOOKED_SLOT),
    Nonsense("an outside booking twice", BOOKING.format("NULL", "released", "'cal-1'", "'outside'"),
             "booking_external_once", f"{BOOKED_SLOT}; " + BOOKING.format("NULL", "released", "'cal-1'", "'outside'")),
    Nonsense("a booking that ends before it starts", "UPDATE booking SET ends_at = starts_at",
             "booking_ends_after_start", f"{BOOKED_SLOT}; " + BOOKING.format("NULL", "held", "'cal-1'", "'outside'")),
    Nonsense("two ends of one meeting", FOLLOWUP.format("error"), "followup_task_one_per_draft", FOLLOWUP.format("booked")),
    Nonsense("a second open question about a draft", "INSERT INTO review_request (id, draft_id, workspace_id, reason,"
             " expires_at) SELECT gen_random_uuid(), id, workspace_id, 'r', now() FROM ai_draft",
             "review_request_draft_id", "INSERT INTO review_request (id, draft_id, workspace_id, reason, expires_at)"
             " SELECT gen_random_uuid(), id, workspace_id, 'r', now() FROM ai_draft"),
    *(Nonsense(f"a person's {what}", f"UPDATE review_action SET {change}", "review_action_append_only",
               "INSERT INTO review_action (id, draft_id, workspace_id, actor, via, action, edited_text)"
               " SELECT gen_random_uuid(), id, workspace_id, 'p', 'cli', 'edit', 'mine' FROM ai_draft")
      for what, change in (("text rewritten", "edited_text = 'theirs'"), ("name rewritten", "actor = 'q'"),
                           ("reason added later", "reject_reason = 'r'"))),
]  # fmt: skip

SENSE = [
    ("a refused selector call may be repeated", CALL.format("auto_send_revision_selector", 1, 2, "answered"),
     CALL.format("auto_send_revision_selector", 1, 1, "refused")),
    ("a draft stage may be asked again", CALL.format("auto_send_evaluation", 0, 2, "answered"),
     CALL.format("auto_send_evaluation", 0, 1, "failed")),
    ("a confirmed second delivery", SEND.format("false", "'p'", "'p'", "scheduled"),
     SEND.format("true", "NULL", "NULL", "unknown")),
    ("a send after a refused one", SEND.format("true", "NULL", "NULL", "scheduled"),
     SEND.format("true", "NULL", "NULL", "refused")),
    ("an artifact of exactly 32,768 bytes", ARTIFACT.format("s", 0, SHA, '{"text": "' + "x" * 32_756 + '"}'),
     "SELECT 1"),
    ("telemetry of numbers and booleans", TELEMETRY.format('{"iteration": 1, "retry": true}'), "SELECT 1"),
]  # fmt: skip
