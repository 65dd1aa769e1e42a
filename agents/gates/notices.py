"""What machines write when no header says that they are: by language, lower case. Data, no logic.

One entry per line, an indented line goes on with the one above. A phrase alone proves nothing, people write about such
notices: `machine_mail` says what must come together.
"""

import re
from typing import Final

from agents.gates.phrases import entries


def _any_of(listed: str) -> str:
    return f"(?:{'|'.join(entries(listed))})"


# What a subject begins with. Each needs an end: "Automatic reply does not work" is a person's.
_ENDS: Final = (
    r"(?= *(?:$|[:：\-–—(\[!.,\]】]|to\b|from\b|re\b|aw\b|fw|auf\b|von\b|vom\b|op\b|på\b|auto|repl|message|noti"
    r"|until\b|till?\b"
    r"|bis\b|jusqu|hasta\b|até\b|fino\b|tot\b|do\b))"
)
OUT_OF_OFFICE: Final = re.compile(
    r"(?:\[[^\]]{1,40}\] ?)?【?(?:(?:"
    r"auto(?:matic|mated|matische|matisk[at]?)?[- ]?(?:reply|response|respon[sd]er|antwort|antwoord|svar)"
    r"|out of (?:the )?office"
    r"|abwesenheits(?:notiz|meldung|assistent)|abwesend|automatisch antwoord|afwezig(?:heid)?|réponse automatique"
    r"|reponse automatique|absen(?:ce|t) du bureau|message d'absence|respuesta autom[aá]tica|fuera de (?:la )?oficina"
    r"|resposta autom[aá]tica|fora do escrit[oó]rio|risposta automatica|fuori (?:sede|ufficio)|autorisposta"
    r"|automatyczna odpowied[zź]|odpowied[zź] automatyczna|poza biurem|autosvar|automatiskt svar|automaattinen vastaus"
    r"|automatická odpov[eě][dď]|автоответ|автоматический ответ|otomatik (?:yanıt|cevap)|自動(?:応答|返信)"
    r"|不在(?:通知|連絡)"
    rf"|自动(?:回复|答复)|자동 ?(?:회신|응답)){_ENDS}"
    r"|ooo\b ?(?:$|[:\-–—])|(?:absence|aus[eê]ncia|ausente|assente|absente?|frånvarande|nieobecność|poissaolo"
    r"|poissa|frånvaro|fravær|assenza|ausencia) *(?:$|:)"
    r"|(?:i am |i'm )?away (?:until|till|from (?:my|the) (?:office|desk|e-?mail))|on (?:annual )?(?:vacation|leave"
    r"|holiday) until|niet (?:op|aanwezig op) kantoor)"
)
BOUNCE_SUBJECT: Final = re.compile(
    r"(?:\*\*|\[postmaster\] )?(?:undeliver(?:able|ed)\b|postmaster notify\b|(?:e-?)?mail delivery (?:failed"
    r"|failure|system error)|returned mail\b"
    r"|delivery (?:status )?(?:notification|failure|report|has failed)|failure (?:notice|delivery)|(?:mail"
    r"|message) (?:delivery )?(?:could not be delivered|has failed)|mail system error|non remis|nicht zugestellt"
    r"|unzustellbar|no se puede entregar|mensaje no entregado|impossibile recapitare|mancato recapito"
    r"|não é possível entregar"
    r"|não foi possível entregar|onbestelbaar|niet-bestelbaar|niedostarcz|échec de (?:la )?(?:remise|livraison)"
    r"|недоставленное сообщение|ваше сообщение не доставлено|warning: message \S{1,40} delayed"
    r"|notice: mail delivery status|(?:配信不能|配信失敗|配信エラー|未配信|送信エラー)(?:$|[:： のを通]))"
)
REPORT_SUBJECT: Final = re.compile(
    r"complaint about message from \d|(?:e-?mail )?(?:abuse|feedback|dmarc \w+) report\b"
)
REPORT_START: Final = re.compile(
    r"this is an? (?:\w+ )?(?:e-?mail )?(?:abuse|spam) report|feedback-type:|this is the mail system at host"
    r"|hi\. this is the qmail|the original message was received at \w{3},|this is an authentication failure report"
    r"|--- the following addresses had delivery problems|delivery has failed to these recipients"
    r"|this is a delivery failure notification|this message was created automatically by (?:the )?mail delivery"
)

# A sentence that only a machine says of itself; at the start of a sentence, and complete.
_OF_ITSELF: Final = _any_of(
    r"""
this (?:is an? |e-?mail (?:is|was|has been) |message (?:is|was|has been) |mail (?:is|was|has been) )
  (?:an? )?auto(?:mated|matic(?:ally)?)?[- ]?(?:generated |sent |created )?(?:system )?
  (?:e-?mail|message|mail|response|reply|notification|notice|confirmation|acknowledge?ment|by\b|from\b|and\b|[.,;!]|$)
this (?:e-?mail|message|mail|notification) (?:is|was|has been) (?:generated|sent|created) automatically
we(?:'ve| have)? (?:received|got) your (?:message|request|e-?mail|e?n?in?quiry|ticket
  |question)[^.?!]{0,40}\b(?:someone|one of
  |our|a member|an agent|we)\b[^.?!]{0,60}\b(?:get back|be in touch|respond|reply|contact you|answer)\b
your (?:ticket|request|case|e?n?in?quiry)(?: \(?#?[\w-]{0,20}\d[\w-]{0,20}\)?)? has been (?:received|logged
  |updated|created|registered
  |closed|resolved|opened)[^.?!\n]{0,20}\b(?:reference|number|#|and is being|as solved|id)
your (?:ticket|case) \(?#?[\w-]{0,20}\d[\w-]{0,20}\)? (?:has been|is now|was) \w+
if this was you,? (?:you|no|please ignore)\b
##-? ?please type your reply above this line
(?:please )?do not (?:reply|respond)(?: directly)? to this (?:automated )?(?:e-?mail|message)(?: address)?
  (?:\W*$|[.;!]|,? (?:as|because|since)\b|, this mailbox|. this mailbox)
if you did(?: not|n't) (?:request|make|ask for) this[^.?!\n]{0,40}\b(?:ignore|disregard) this (?:e-?mail|message)
this (?:mailbox|inbox|e-?mail address) is (?:not monitored|unmonitored|unattended)
you(?: are|'re| have)? receiv(?:ed?|ing) this (?:e-?mail|message|newsletter|notification|because)[^.?!\n]{0,20}
  \b(?:because|as|since) (?:you|your)\b
(?:if you no longer wish|to stop receiving|to unsubscribe|unsubscribe *[|·•]|update your preferences|manage (?:your )?
  (?:preferences|subscription)s?)\b
dies(?:e (?:e-?mail|nachricht|mail))? (?:ist|wurde) (?:eine )?automatisch(?:e|en)? ?(?:generiert|erstellt|erzeugt
  |versandt
  |versendet|verschickt|e-?mail|nachricht|antwort|benachrichtigung)
(?:bitte )?antworten sie (?:bitte )?nicht (?:direkt )?auf diese (?:e-?mail|nachricht|mail)
wir haben ihre (?:anfrage|nachricht|e-?mail|mail) erhalten und (?:melden|werden|bearbeiten|kümmern)
sie (?:erhalten|bekommen) diese[nrs]? (?:newsletter|e-?mail|nachricht|mail), (?:weil|da)\b
ceci est une? (?:e-?mail|message|courriel|réponse) (?:envoyée? |générée? )?automatique(?:ment)?
cet? (?:e-?mail|message|courriel) (?:est|a été) (?:envoyé |généré )?automatique(?:ment)?
(?:merci de|veuillez|nous vous prions de) ne pas (?:y )?répondre(?: directement)?(?: à cet? (?:e-?mail|message
  |courriel))? ?(?:[.!]|$)
nous avons bien reçu votre (?:demande|message|e-?mail|courriel)[^?!]{0,40}\b(?:répondr|traiter|reviendr|traité)\w*
vous recevez ce(?:t|tte)? (?:e-?mail|message|courriel|newsletter|lettre)\b[^.?!\n]{0,20}\b(?:car|parce)
est[ea] (?:es|é) um?a? ?(?:correo|mensaje|mensagem|e-?mail|respuesta|resposta|notificación|notificação) ?
  (?:electrónico )?(?:generad[oa] |gerad[oa] |enviad[oa] )?autom[aá]tic[oa](?:mente)?
est[ea] (?:correo|mensaje|mensagem|e-?mail) (?:se |fue |ha sido |foi )?(?:generad[oa]|gerad[oa]
  |enviad[oa]) (?:de forma )?
  autom[aá]tic[oa](?:mente)?
hemos recibido su (?:solicitud|mensaje|consulta|correo)[^.?!]{0,10}\b(?:le|nos)\b[^.?!]{0,20}\b(?:responder
  |pondremos|contactar)
recebemos (?:a |o )?(?:sua|seu) (?:mensagem|solicitação|pedido|e-?mail) e (?:responderemos|entraremos|vamos)
abbiamo ricevuto (?:la |il )?(?:sua|tua|suo|tuo) (?:richiesta|messaggio|e-?mail) e (?:le|ti|la)\b
(?:we|wij) hebben (?:uw|je) (?:bericht|aanvraag|e-?mail|mail|vraag) (?:goed )?ontvangen en (?:nemen|reageren
  |zullen|komen)
du (?:får|modtager|mottar) det?(?:ta|te|t här|nne)? (?:mejlet|mailet|mejl|mail|e-?post\w*
  |nyhetsbrev\w*)(?: här)? (?:eftersom|för att|fordi)
(?:por favor,? )?n(?:o|ão) respond[ae](?: directamente)? a est[ea] (?:correo|mensaje|mensagem|e-?mail)
(?:ha(?:s)? recibido|recib(?:es|e)|est[aá]s? recibiendo) est[ea] (?:correo|mensaje|e-?mail|boletín) porque
(?:você )?(?:recebeu|está a receber|está recebendo) est[ea] (?:mensagem|e-?mail) porque
(?:questa è una?|la presente è una|questo è un) ?(?:e-?mail|mail|messaggio|risposta|comunicazione|notifica) ?
  (?:è stata |è stato )?(?:generat[oa] |inviat[oa] )?(?:in )?automatic[oa](?:mente)?
(?:si prega di|ti preghiamo di|la preghiamo di|vi preghiamo di) non rispondere
(?:ricevi|riceve|hai ricevuto) quest[oa] (?:e-?mail|messaggio|newsletter) perché
di(?:t|eze) (?:is een |e-?mail is |bericht is |mail is )automatisch(?:e)?
je ontvangt deze (?:e-?mail|mail|nieuwsbrief) omdat|u ontvangt deze (?:e-?mail|mail|nieuwsbrief) omdat
u kunt (?:hier )?niet op (?:dit bericht |deze e-?mail |deze mail )?(?:antwoorden|reageren)
(?:ta |ten |niniejsza )?(?:wiadomość|e-?mail|mail)(?: ta| ten)? (?:został[ao]? )?(?:jest )?(?:wygenerowan[ay]
  |wysłan[ay]) (?:został[ao]? )?automatycznie
(?:to jest|jest to) (?:wiadomość|e-?mail|mail) (?:wygenerowan[ay] |wysłan[ay] )?automatyczn(?:a|ie|y)
(?:prosimy|proszę) (?:na (?:nią|tę wiadomość|ten e-?mail) )?nie odpowiadać
det(?:ta|te) (?:är|er) e(?:tt|n|t) automatis(?:kt|k) (?:meddelande|mejl|mail|svar|besked|e-?post\w*|utskick|mel?ding)
(?:det går inte att|du kan inte|svara inte|vänligen svara inte|kan ikke) (?:svara )?på det(?:ta|te) (?:meddelande
  |mejl|mail)
bu (?:e-?posta|mesaj|ileti|mail)(?: size)? otomatik (?:olarak|bir)
(?:lütfen )?bu (?:e-?posta|mesaj|ileti|mail)\w{0,4} (?:yanıtlamayın|cevaplamayın|cevap vermeyin)
(?:この|本)(?:メール|メッセージ)は[^。\n]{0,20}自動(?:送信|配信|返信|応答|生成|的)
(?:この|本)(?:メール|メッセージ)(?:は送信専用|に(?:は)?(?:返信|ご返信))
(?:это|данное) (?:автоматическое|сообщение (?:создано|отправлено|сформировано) автоматически)
此(?:邮件|郵件|信)(?:为|為|由|系)?[^。\n]{0,6}(?:自动|自動)
"""
)
OF_ITSELF: Final = re.compile(rf"(?:^|[.!?。！,;|]|\n)[ \t*_>#=\-–—\[(]*{_OF_ITSELF}", re.MULTILINE)
# Somebody asks, or speaks of himself: a person, who cites a notice or wrote one himself.
QUESTION: Final = re.compile(r"[?？¿]")
SPEAKER: Final = re.compile(
    r"\bi(?:'m|'ve|'d|'ll| (?:am|was|have|had|did|do|don't|didn't|got|get|would|will|can|can't|cannot|could"
    r"|couldn't|need"
    r"|want|wanted|received|think|just|only|still|never|also|found|see|saw|tried|bought|ordered|asked|wrote|wish"
    r"|like|hope"
    r"|know|paid|sent|signed|forgot|read|keep))\b"
    r"|\b(?:my|me|mine|ich|mir|mich|je|j'\w+|moi|yo|eu|io|ik|mij|mnie|jag|mig|jeg|meg|bana|beni)\b|私|わたし|僕"
)
# Somebody who is away, and wants something of us.
REQUEST: Final = re.compile(
    r"\b(?:please|kindly|could you|can you) (?!contact|reach|call|direct|e-?mail|write|note|feel|be (?:advised"
    r"|aware|patient)"
    r"|get|do not|don't|speak|refer|dial|send (?:it|your) )"
    r"|\b(?:contact|call|e-?mail|reach|text|send|tell|give|let) (?:me|us)\b|\b(?:bitte|schicken|senden) sie mir\b"
    r"|\b(?:before|bevor|avant|antes|prima|voor|przed|innan)\b.{0,20}\b(?:that|then|dass|cela|eso|isso|di allora"
    r"|dat|tym|dess)\b"
    r"|\bbitte (?:senden|schicken|geben|bestätigen|teilen|melden sie sich bei mir)|\bm'(?:appeler|envoyer|écrire)"
    r"|\b(?:envíe|mánde|llám|confírm)\w*me\b|\b(?:stuur|bel) (?:mij|me)\b|\b(?:hjälp|behöver)\b"
)

# The absence of somebody, told to everybody who writes; with one of `ABSENCE_TERMS`, and no question.
ABSENCE: Final = re.compile(
    _any_of(
        r"""
\b(?:i am|i'm|i will be|i'll be) (?:currently |now |presently )?(?:out of (?:the |my )?office|out of town|ooo\b|away\b
  |on (?:\w+ )?(?:leave|vacation|holidays?)|travelling|traveling)
\bi (?:no longer work|am no longer (?:with|working|employed)|have left (?:the company|\w+))\b
\bbin (?:ich )?(?:ab |bis |vom |derzeit |aktuell |momentan |zurzeit )?.{0,60}\b(?:nicht (?:im (?:büro|haus)|erreichbar)
  |abwesend|im urlaub|außer haus|in elternzeit)\b
(?:^|\b(?:suis|serai) (?:actuellement )?|[,.] )absente? (?:du bureau |jusqu)
\bje (?:suis|serai) (?:actuellement )?(?:absente?|en (?:congés?|vacances|déplacement))\b
\b(?:estoy|estaré|me encuentro|me encontraré) (?:actualmente )?(?:fuera de (?:la )?oficina|de vacaciones|ausente
  |de baja)\b
\b(?:estou|estarei|encontro-me) (?:atualmente )?(?:de férias|ausente|fora do escritório|em férias|de licença)\b
\b(?:sono|sarò) (?:attualmente )?(?:fuori (?:ufficio|sede)|assente|in ferie|in vacanza)\b
\bik ben (?:momenteel |op dit moment )?.{0,40}\b(?:afwezig|niet (?:op kantoor|aanwezig|bereikbaar)|met vakantie
  |op vakantie|met verlof)
\b(?:przebywam|jestem|będę) .{0,30}\b(?:na urlopie|nieobecn[ay]|poza biurem)\b
\bjag är .{0,30}\b(?:på semester|inte på kontoret|ledig|föräldraledig|bortrest|frånvarande)\b
\bjeg er .{0,30}\b(?:på ferie|ikke på kontoret|bortrejst|fraværende|i permisjon)\b
\b(?:yıllık izinde|izindeyim|izinde olacağım|ofis dışında|ofiste olmayacağım)
(?:不在|休暇|休み|出張)[^。\n]{0,12}(?:しております|いただいて|いたします|ております|中です|中のため|となります)
"""
    )
)
# No absence without one of these: a cheap look before any other work.
ABSENCE_STEMS: Final = tuple(
    "office ooo away leave vacation holiday travel town longer left urlaub büro abwesend erreichbar haus elternzeit"
    " absent congé vacances déplacement oficina vacaciones ausente baja férias escritório licença ufficio sede ferie"
    " vacanza assente afwezig kantoor aanwezig bereikbaar vakantie verlof urlopie nieobecn biur semester kontoret ledig"
    " bortre frånvar fravær permisjon izin ofis 不在 休暇 休み 出張".split()
)
ABSENCE_TERMS: Final = re.compile(
    _any_of(
        r"""
\b(?:limited|no|intermittent|little|without) access to (?:my )?(?:e-?mails?|mails?|messages)
\b(?:urgent|pressing) (?:matters?|issues?|requests?|cases?|needs?|e?n?in?quir(?:y|ies)|questions?)\b
\b(?:if|for|anything) .{0,30}\burgent\b
\bimmediate (?:assistance|help|attention)\b|\bin my absence\b|\bnot (?:be )?(?:automatically )?forwarded\b
  |\bnot monitored\b
\b(?:respond|reply|answer|get back to you).{0,30}\b(?:(?:up)?on my return|when i (?:return|get back|am back))\b
\bdringende?n? (?:fällen|fragen|angelegenheiten|anliegen)|\bnicht (?:automatisch )?weitergeleitet|\bkeinen zugriff
\bmeine vertretung|\bnach meiner rückkehr
\bcas d'urgence|\bdemandes? urgentes?|\bne sera pas (?:traité|transféré|lu)|\bpour toute urgence|\bdès mon retour
  |\bà mon retour|\ben mon absence
\basuntos urgentes|\bsi es urgente|\bcaso de urgencia|\bacceso limitado|\ba mi regreso
\bcaso de urgência|\bassuntos urgentes|\bacesso limitado|\bquando regressar|\bao retornar
\bper urgenze|\bcas[oi] (?:di urgenza|urgenti)|\bquestioni urgenti|\bal mio rientro
\b(?:dringende|spoedeisende) (?:zaken|gevallen|vragen)|\b(?:bij|voor) spoed|\bpilnych sprawach|\bpo powrocie
\b(?:brådskande|akuta?) (?:ärenden|frågor|fall)|\b(?:haste|presserende) (?:saker|tilfælde)|\bhastesager
\bacil (?:konular|durumlar)|\bdöndüğümde|戻り次第|緊急の|お急ぎの
"""
    )
)

# A calendar's answer to an invitation: with a text of its own it is a person's.
CALENDAR_SUBJECT: Final = re.compile(
    r"(?:accepted|declined|tentative(?:ly accepted)?|zugesagt|angenommen|abgelehnt|mit vorbehalt|accepté|refusé"
    r"|provisoire"
    r"|aceptad[oa]|rechazad[oa]|aceite|recusad[oa]|accettat[oa]|rifiutat[oa]|provvisori[oa]|geaccepteerd|geweigerd"
    r"|afgewezen|zaakceptowan[eoy]|odrzucon[eoy]|accepterad|accepterat|avböjt|tackat ja|godkendt|akseptert"
    r"|kabul edildi|reddedildi|承諾(?:済み)?|辞退|仮承諾) ?[:：]"
)
CALENDAR_BODY: Final = re.compile(
    r"\s*(?:$|.{0,120}\bhas (?:accepted|declined|replied)\b.{0,40}\bto? ?this invitation"
    r"|.{0,120}\bhas (?:accepted|declined)"
    r" this (?:invitation|event|meeting))"
)
# Receipts: the subject of ours with a word before it, and a text about it.
RECEIPT_SUBJECT: Final = re.compile(
    r"(?:read|not read|delivered|relayed|delayed|gelesen|ungelesen|zugestellt|übermittelt|lu|non lu|remis|leído"
    r"|leido|lida"
    r"|entregado|entregue|letto|consegnato|gelezen|bezorgd|przeczytano|läst|levererat|læst|lest|okundu|開封済み) ?[:：]"
)
RECEIPT_BODY: Final = re.compile(
    r"\s*(?:\S{0,3} ?)?(?:$|your message|this is a (?:return|read|delivery) receipt|delivery to (?:these"
    r"|the following)|ihre"
    r" nachricht|die nachricht|votre message|su mensaje|el mensaje|sua mensagem|a sua mensagem|il (?:suo "
    r"|tuo )?messaggio"
    r"|uw bericht|je bericht|wiadomość|twoja wiadomość|ditt meddelande|din meddelelse|meldingen|iletiniz|メッセージ)"
)
FULL_SUBJECT: Final = re.compile(r"(?:your )?(?:mailbox|inbox|quota)\b.{0,40}\b(?:full|exceeded|over quota)")
FULL_BODY: Final = re.compile(r"\b(?:message|mail)\b.{0,40}\b(?:not|never) (?:been )?delivered\b")
