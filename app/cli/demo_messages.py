"""What three small companies find in their inbox one morning. Written for this demo; every person is invented.

The scripted model judges by a hash of the text. Where the demo must show an outcome, a mark such as `!!near` (see
`app.stack.model_rules`) makes it certain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

SOFTWARE: Final = "demo-software"
TRAVEL: Final = "demo-travel"
LEGACY: Final = "demo-legacy"
SLOT: Final = "{slot}"

Headers = dict[str, str]


@dataclass(frozen=True)
class Sample:
    """One message. `pause_s` is waited before it is sent; `raw` is sent instead of a message when given."""

    workspace: str
    lead: str
    body: str
    subject: str | None = None
    channel: str = "email"
    pause_s: float = 0.1
    direction: str = "inbound"
    headers: Headers = field(default_factory=dict)
    campaign: str | None = None
    locale: str | None = None
    raw: bytes | None = None

    def record(self, number: int, run: str, slot: str, now: datetime) -> bytes:
        """The bytes for `inbound-message`. Ids bear `run`, so that two demos on one broker do not meet."""
        if self.raw is not None:
            return self.raw
        address = f"{self.lead}@example.org"
        message: dict[str, Any] = {
            "schema_version": 1,
            "message_id": f"{run}-{number}",
            "workspace_id": self.workspace,
            "lead_id": f"{self.lead}-{run}",
            "channel": self.channel,
            "received_at": now.astimezone(UTC).isoformat(),
            "body": self.body.replace(SLOT, slot),
            "direction": self.direction,
            "thread_id": f"{self.lead}-{self.channel}",
            "campaign_id": self.campaign,
            "lead": {"name": self.lead.replace(".", " ").title(), "email": address, "locale": self.locale},
        }
        if self.direction == "outbound":
            message |= {"sent_by": "agent.nora", "source": "helpdesk"}
        elif self.channel == "email":
            identity = f"<{run}.{number}@example.org>"
            message |= {"subject": self.subject, "from_address": address, "headers": {"Message-ID": identity}}
            message["headers"] |= self.headers
        return json.dumps(message, ensure_ascii=False).encode()


def mail(workspace: str, lead: str, subject: str, body: str, **more: Any) -> Sample:
    return Sample(workspace, lead, body, subject, **more)


def chat(workspace: str, lead: str, *bodies: str, **more: Any) -> Iterator[Sample]:
    """What one person types, one line after the other, faster than anybody answers."""
    for number, body in enumerate(bodies):
        yield Sample(workspace, lead, body, channel="chat", pause_s=0.25 if number else 0.1, **more)


SUPPORT: Final = (
    mail(SOFTWARE, "amelia.reed", "Export stops half way", "Hi, when I export my board the file stops after the first"
         " page. I use the desktop app. What can I do? !!confident"),
    mail(SOFTWARE, "tom.becker", "Anmeldung am neuen Rechner", "Guten Tag, ich habe einen neuen Rechner und kann mich"
         " nicht mehr anmelden. Können Sie mir bitte sagen, wie ich in mein Konto komme? !!confident", locale="de"),
    mail(SOFTWARE, "claire.martin", "Question sur le partage", "Bonjour, je voudrais partager un tableau avec une"
         " collègue qui n'a pas de compte. Est-ce que c'est possible ? Merci de votre aide. !!confident", locale="fr"),
    mail(SOFTWARE, "lucia.ortega", "No veo mis tareas", "Hola, no puedo ver las tareas que creé ayer con mi equipo."
         " ¿Qué tengo que hacer para que aparezcan? Gracias. !!confident", locale="es"),
    mail(SOFTWARE, "priya.nair", "Two boards at once", "Hello, is there a way to look at two boards side by side? My"
         " team plans the week that way and we keep switching back and forth. !!near"),
    mail(SOFTWARE, "george.hill", "Notifications at night", "Hi team, my phone buzzes all night because of comments in"
         " another time zone. How can I keep the notifications to working hours? !!near"),
    mail(SOFTWARE, "hanna.vogel", "Vorlage übernehmen", "Hallo, wir haben eine Vorlage in einem alten Projekt und"
         " möchten sie für ein neues Projekt verwenden. Wie machen wir das bitte? !!near", locale="de"),
    mail(SOFTWARE, "oscar.lind", "It is all a bit slow", "Since the last update everything feels slower than before, I"
         " cannot say where exactly. Is that known? !!never"),
    mail(SOFTWARE, "maria.santos", "Wrong owner", "A colleague left and her boards still belong to her. We have tried"
         " the settings and the help pages, and I am not sure which of them is meant for this. !!low"),
    mail(SOFTWARE, "ben.archer", "What does the larger plan cost?", "Hello, we are growing and would like to know what"
         " the larger plan costs for a team like ours, before our meeting with finance. !!claim"),
    mail(SOFTWARE, "yuki.mori", "Refund", "I was charged although I cancelled in time. Please send me a refund for the"
         " last invoice."),
    mail(SOFTWARE, "dr.kessler", "Letter from our lawyer", "Our lawyer has looked at your terms and asks who is liable"
         " for data that was lost on your side. Please answer in writing."),
    mail(SOFTWARE, "nina.falk", "A short call?", "Hello, could we schedule a meeting about moving our archive? The"
         " first slot that suits you is fine, I am in Europe/Berlin. !!confident"),
    mail(SOFTWARE, "sam.okafor", "Call about onboarding", "Hi, let us schedule a call about onboarding two new people."
         " I could do {slot}. !!confident"),
    mail(SOFTWARE, "ines.duarte", "Appointment", "Hello, I would like an appointment to see the reporting part. I am in"
         " Europe/Lisbon and rather flexible. !!gate !!confident"),
    mail(SOFTWARE, "rob.stein", "Attachment", "Please see the attached screenshot: what does the red mark mean?",
         headers={"X-Attachments": "screenshot.png"}),
    mail(SOFTWARE, "judge.test", "Hello", "Could you tell me which of the settings matters most for a new team? It is"
         " all so much. !!nonsense"),
)  # fmt: skip

MACHINES: Final = (
    mail(SOFTWARE, "anna.weiss", "Automatic reply: Your ticket", "I am out of the office until Monday and answer when I"
         " am back.", headers={"Auto-Submitted": "auto-replied"}),
    mail(SOFTWARE, "karl.brandt", "Abwesenheitsnotiz: Ihr Ticket", "Ich bin zurzeit nicht im Büro.", locale="de"),
    mail(SOFTWARE, "mailer-daemon", "Undelivered Mail Returned to Sender", "The following address had errors.",
         headers={"Return-Path": "<>", "Auto-Submitted": "auto-generated"}),
    mail(TRAVEL, "newsletter", "This week's harbour news", "Ten quiet bays for a long weekend.",
         headers={"List-Id": "<harbour.example.org>", "Precedence": "bulk"}),
    mail(TRAVEL, "noreply", "Your daily digest", "You have three unread notices.",
         headers={"Auto-Submitted": "auto-generated"}),
)  # fmt: skip

OPT_OUTS: Final = (
    mail(TRAVEL, "paul.winter", "Re: Spring offers", "Please unsubscribe me from these messages."),
    mail(SOFTWARE, "erik.dahl", "Ihre Nachrichten", "Bitte nehmen Sie mich aus dem Verteiler.", locale="de"),
    *chat(TRAVEL, "zoe.carter", "STOP"),
    mail(TRAVEL, "paul.winter", "One more thing", "And what about my booking from last summer?", pause_s=0.6),
)

TRIPS: Final = (
    mail(TRAVEL, "emma.lewis", "Window seat", "Hello, can I still choose a window seat for my flight to Oslo? I travel"
         " with a small child. !!confident"),
    mail(TRAVEL, "jan.novak", "Late check-in", "Good day, our train arrives late in the evening. Is somebody at the"
         " hotel to let us in? !!confident"),
    mail(TRAVEL, "sofia.russo", "Change of name", "Hi, I married and my passport has a new name now. Do I have to"
         " change my booking? !!confident"),
    mail(TRAVEL, "marc.dubois", "Bagages", "Bonjour, est-ce que je peux emporter mon vélo dans le train de nuit ? Merci"
         " de votre réponse. !!confident", locale="fr"),
    mail(TRAVEL, "greta.holm", "Vegetarian meals", "Hello, we are a group of vegetarians. Is that possible on the ship"
         " and what do we have to tell you? !!near"),
    mail(TRAVEL, "pedro.alves", "Mascota", "Hola, ¿puedo llevar a mi perro en el viaje? Es pequeño y muy tranquilo."
         " Gracias. !!near", locale="es"),
    mail(TRAVEL, "ruth.cohen", "Which bag?", "What size may a bag be on the night train? The page says one thing and"
         " the ticket another. !!claim"),
    mail(TRAVEL, "lars.berg", "Money back", "The tour was cancelled and I want a refund of everything, please.",
         channel="email"),
    mail(TRAVEL, "aisha.khan", "Something is wrong", "I do not know how to say this, but the room was not what we"
         " expected at all. !!low"),
    mail(TRAVEL, "theo.lang", "Call me", "Please call me about our group trip, any appointment is fine."
         " America/New_York. !!confident"),
)  # fmt: skip

BURSTS: Final = (
    *chat(SOFTWARE, "kim.day", "hi", "i have a question", "how do i move a card to another board? !!confident"),
    *chat(TRAVEL, "leo.park", "hello", "my flight", "can i take a guitar on board? !!confident"),
    *chat(SOFTWARE, "mia.stone", "anyone there?", "the app does not open", "on my phone", "since today !!near"),
    *chat(TRAVEL, "ivo.petrov", "we are four people and look for a quiet place by the sea !!confident"),
)

ANSWERED: Final = (
    mail(TRAVEL, "olga.weber", "Taxi", "Hello, can you order a taxi to the station for us? !!confident"),
    Sample(TRAVEL, "olga.weber", "It is ordered, have a good trip. Nora", channel="email", direction="outbound",
           pause_s=0.2),
    mail(SOFTWARE, "finn.moore", "Colours", "Hi, can I give the labels my own colours? !!confident"),
    Sample(SOFTWARE, "finn.moore", "Yes: in the settings of the board. Nora", channel="email", direction="outbound",
           pause_s=0.2),
)  # fmt: skip

SALES: Final = (
    mail(LEGACY, "harry.cole", "Re: Spring collection", "Thanks for the catalogue. Do you also make the chairs in a"
         " darker wood? !!confident"),
    mail(LEGACY, "ida.berglund", "Re: Spring collection", "We furnish a small hotel. Whom should I talk to? !!near"),
    mail(LEGACY, "nico.ferrari", "Re: Spring collection", "Can we visit your workshop one day? !!confident"),
    mail(LEGACY, "ella.fraser", "Re: Spring collection", "The table arrived with a scratch, what now? !!low"),
    mail(LEGACY, "max.huber", "Re: Frühlingskollektion", "Gibt es die Bank bitte auch für draußen? Wir haben eine"
         " Terrasse und suchen etwas mit Lehne. !!confident", locale="de"),
    mail(LEGACY, "tara.quinn", "Re: Spring collection", "Not for us, but thank you for asking."),
    mail(LEGACY, "ugo.conti", "Archive", "Old thread, only for the record.", campaign="demo-archive"),
)  # fmt: skip

BROKEN: Final = (
    Sample(SOFTWARE, "", "", raw=b"this is no JSON at all"),
    Sample(SOFTWARE, "", "", raw=b'{"schema_version": 1, "message_id": "without-anything-else"}'),
    Sample(SOFTWARE, "", "", raw=b'{"schema_version": 7, "message_id": "from-the-future", "body": ""}'),
    Sample("demo-nobody-knows", "lost.soul", "Is this the right address?", "Hello", pause_s=0.1),
)

_PARTS: Final = (SUPPORT, TRIPS, SALES, MACHINES, BURSTS, OPT_OUTS, ANSWERED, BROKEN)


def samples() -> list[Sample]:
    """All of them, a few of every kind after the other; each kind keeps its order, so bursts stay together."""
    waiting, mixed = [list(part) for part in _PARTS], list[Sample]()
    while any(waiting):
        for part in waiting:
            lead = part[0].lead if part else ""
            while part and part[0].lead == lead:
                mixed.append(part.pop(0))
    return mixed


def documents(webhook_url: str, webhook_secret: str) -> list[dict[str, Any]]:
    """The three workspaces, as `workspace apply` takes them."""
    chat_channel = {"webhook_url": webhook_url, "webhook_secret": webhook_secret}
    channels = {"email": {"from": "hello@example.com"}, "chat": chat_channel}
    common = {"quiet_window_s": 1, "channels": channels}
    return [
        {"workspace_id": SOFTWARE, "name": "Boards and Cards", "default_mode": "AI_AUTO_SEND", **common}
        | {"auto_send_revision_enabled": True, "lead_context_bundle_enabled": True},
        {"workspace_id": TRAVEL, "name": "Slow Travel", "default_mode": "AI_AUTO_SEND", "threshold": 0.9, **common},
        {"workspace_id": LEGACY, "name": "Oak and Ash", "default_mode": "LEGACY_AUTO_REPLY", **common}
        | {"campaigns": [{"campaign_id": "demo-archive", "name": "Archive", "mode": "OFF"}]},
    ]


KNOWLEDGE: Final = (
    (SOFTWARE, "Sharing a board", "A board can be shared with people who have no account by a link."),
    (SOFTWARE, "Exporting", "An export holds all pages; large boards are exported in the browser."),
    (TRAVEL, "Seats", "A seat can be chosen until the day before departure."),
)
