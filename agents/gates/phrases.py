"""How people say that they want no more messages, by language. Lower case, straight apostrophes. Data, no logic.

One entry per line, an indented line goes on with the one above, `<name>` stands for the words listed in `_NAMED`.
"""

import re
from typing import Final

from schemas.codes import Channel


def entries(listed: str) -> tuple[str, ...]:
    return tuple(line for line in re.sub(r"\n +", "", listed).split("\n") if line)


def _words(listed: str) -> frozenset[str]:
    return frozenset(word.strip() for line in entries(listed) for word in line.split("|"))


# Said alone, whatever follows.
KEYWORDS: Final = _words(
    """
unsubscribe|unsubscribe me|unsubscribe us|unsub|opt out|opt-out|optout|opt me out|remove me|stopall|stop all
remove me from list|remove me from the list|remove me from your list|take me off|stop emails|stop e-mails|stop messages
stop texting|stop emailing|stop e-mailing|stop messaging|stop spamming|lose my number|stop texts|stop pub
abmelden|abmeldung|abbestellen|abbestellung|austragen|newsletter abbestellen|newsletter abmelden|keine werbung
désabonner|désabonnement|désinscrire|désinscription|me désabonner|me désinscrire|se désabonner|desabonner|desinscription
dar de baja|darme de baja|dame de baja|deme de baja|denme de baja|darse de baja|cancelar suscripción
cancelar suscripcion
disiscrivimi|disiscrivetemi|disiscrivermi|disiscrizione|cancellami|cancellatemi|annulla iscrizione|cancella iscrizione
descadastrar|descadastre-me|descadastrar-me|descadastramento|cancelar inscrição|cancelar inscricao|remova-me|remover-me
afmelden|uitschrijven|afmelding|meld me af|meld mij af|schrijf me uit|schrijf mij uit
wypisz|wypisz mnie|wypisać|wypisanie|wypiszcie mnie|anuluj subskrypcję|usuń mnie|usuńcie mnie
avregistrera|avregistrera mig|avsluta prenumeration|avprenumerera|ta bort mig|afmeld|afmeld mig|avmeld|meld meg av
peru tilaus|odhlásit|odhlásit odběr|abonelikten çık|abonelikten çıkmak istiyorum|beni listeden çıkarın|отписаться
отпишите меня|配信停止|配信解除|配信停止希望|購読解除|수신거부|수신 거부|退订|取消订阅
"""
)
# Said alone, with nothing but a name below: the same word may begin another sentence.
WEAK_KEYWORDS: Final = _words("stop|stopp|arrêt|arret|arrêter|baja|rezygnuję")
# Weak, and only where they are customary: in a chat "end", "cancel" and "remove" are answers.
CHANNEL_KEYWORDS: Final = {
    Channel.SMS: _words("end|quit|cancel|revoke|remove|alto|parar|sair|iptal"),
    Channel.EMAIL: _words("remove"),
}

GREETINGS: Final = _words(
    """
hi|hello|hey|dear|good|hallo|guten|moin|sehr|liebe|lieber|servus|bonjour|bonsoir|salut|hola|buenos|buenas|estimado
estimada|ciao|buongiorno|buonasera|salve|gentile|olá|oi|bom|boa|prezado|prezada|beste|dag|goedendag|geachte|cześć
dzień|szanowni|hej
"""
)
COURTESY: Final = _words(
    """
please|pls|plz|kindly|thanks|thank|you|thx|now|immediately|asap|sir|madam|regards|best|sincerely|cheers|ok|okay|bitte
danke|sofort|vielen|dank|mfg|merci|s'il|vous|plaît|plait|svp|stp|cordialement|immédiatement|por|favor|gracias|ya|saludos
per|favore|grazie|subito|obrigado|obrigada|já|alstublieft|aub|bedankt|graag|proszę|dziękuję|natychmiast|tack|tak
"""
)

_NAMED: Final = {
    "mails": r"(?:e-?mails|mails|mailings?|messages|msgs|texts|sms\w*|newsletters?|spam\w*|ads|junk|crap"
    r"|communications?"
    r"|offers|promotions|marketing|nachrichten|werbung|publicités?|courriels|correos|mensajes|publicidad|messaggi"
    r"|e-?mail"
    r"|comunicazioni|pubblicità|mensagens|comunicações|berichten|nieuwsbrieven|e-?maile|maile|e-?maili|maili|wiadomości"
    r"|ofert|reklam\w*|mejl|utskick|e-?postmeddelanden|nyhetsbrev\w*|beskeder|meldinger)",
    "list": r"(?:\w*(?:lists?|listen?|lista|listas|listy|listes?|lijst)|verteiler\w*|newsletters?\w*|mailings?\w*"
    r"|database"
    r"|crm|distribution|e-?mails|mails|messages|texts|base|base de datos|bolet[ií]n|lettre|correos|fichiers?|bestand"
    r"|nieuwsbrie\w+|bazy|subskrypcji|nyhedsbrev\w*|nyhetsbrev\w*)",
    # The mark of a request that is complete, or is about messages, not about a plan, a policy or a payment.
    "ours": r"(?=\W*$|,|\W*(?:please|now|immediately|asap|thanks?|at once|too|again|and|s'il|svp|merci|por favor"
    r"|gracias"
    r"|per favore|grazie|obrigad[oa]|aub|alstublieft)\b"
    r"| (?:from|of|off|de|du|des|da|dal|dalla|dalle|do|da|dos|van|voor|uit|von|vom|aus) (?:\w+ ){0,4}(?:<list>"
    r"|<mails>)\b"
    r"| (?:from|of) (?:this|it|all|everything)\W*$)",
    "some": r"(?:(?:me|us|mi|of|out|any|these|your|more|further|all|this|those|such|stupid|unsolicited|marketing"
    r"|promotional|des|vos|ces|de|d'autres|más|sus|estos|tus|tantos|vostre|vostri|altre|altri|queste|questi|le|i"
    r"|mais|seus|estes|esses|uw|jullie|deze|meer|weiteren|więcej|już|żadnych|swoich|tych) ?){0,4}",
}

_PHRASES: Final = r"""
\bunsubscribe (?:me|us|my e-?mail(?: address)?)<ours>
\b(?:want|wish|would like|'d like|need|ask|asked|asking) (?:you )?to (?:be )?(?:unsubscribed?|opt(?:ed)? out
  |removed)<ours>
^\W*(?:please )?unsubscribe (?:this (?:e-?mail|address|number)|from all)\b
\bunsubscribe from (?:this|these|your|all|the) (?:\w+ ){0,2}(?:<list>|<mails>)\b
(?:^\W*|\b(?:please|i|we|to|want) )opt (?:me |us )?out<ours>
\b(?:remove|take|delete|drop|get) (?:me|us|my (?:name|e-?mail|address|number|details|contact)(?: \w+){0,2}) (?:from|off)
  (?: of)? (?:\w+ ){0,4}<list>\b
\b(?:stop|quit|cease|desist) (?:e-?mailing|texting|messaging|msg?ing|contacting|spamming|writing|bothering|harassing
  |pestering) (?:to )?
  (?:me|us|this (?:number|address))\b
\b(?:stop|quit|cease) (?:sending <some>|(?:the|these|all|your) (?:\w+ )?)<mails>\b
\b(?:do not|don'?t|never) (?:ever )?(?:contact|e-?mail|text|message|write|bother|spam) (?:to )?(?:me|us)
  (?: (?:again|any ?more|any longer|ever|please|in (?:the )?future)| (?:via|by) \w+)*\W*$
\b(?:i|we|i'd|we'd) (?:really |would )?(?:do not|don'?t|no longer|prefer not) (?:(?:want|wish|like|care) )?to
  (?: (?:receive|get) <some><mails>\b| hear from (?:you|u)\b| be (?:contacted|e-?mailed|messaged|texted)\b)
\b(?:do not|don'?t|never) send (?:me|us) <some><mails>\b
^\W*(?:please )?cease (?:all )?(?:communications?|contact)\b
\bout of (?:this|your) (?:\w+ )?list\b
^\W*(?:please )?no more <some><mails>\b
^\W*(?:please )?leave (?:me|us) alone\W*$
\b(?:melden|trage?n?|nehme?n?|nimm|streichen?|lösche?n?|entferne?n?|setzen?) (?:sie )?(?:bitte )?
  (?:mich|uns|meine (?:e-?mail\S*|mail\S*|adresse))\b.{0,40}\b<list>\b
\bmelden? (?:sie )?(?:mich|uns) (?:bitte )?ab\W*$
\b(?:möchte|will|wünsche|wollen|bitte|schicken|senden|sende|schick)\b.{0,40}\bkeine (?:weiteren <mails>
  |<mails>.{0,10} mehr)\b
\b(?:aus|von|vom) .{0,20}<list> (?:löschen|entfernen|streichen|nehmen|austragen)\b
^\W*(?:bitte )?(?:mich |mir )?nicht mehr (?:schreiben|kontaktieren|anschreiben|mailen)\b
\bstopp?(?:en|t)? (?:sie )?(?:bitte )?(?:die|diese|ihre|eure|alle) <mails>\b
^\W*(?:bitte )?keine (?:weiteren )?<mails> mehr\b
\b(?:kontaktieren?|kontaktiert|schreiben?|schreibt|mailen?|belästigen?) (?:sie )?(?:mich|mir|uns) (?:bitte )?
  (?:nie|nicht) (?:mehr|weiter|wieder)\b
\bhör(?:en|t)? (?:sie )?(?:bitte )?auf,? (?:mir|mich|uns) .{0,30}(?:schreiben|schicken|senden|mailen|kontaktieren)\b
\b(?:abmeldung|abmelden) (?:vom|von ihrem|von diesem) newsletter\b
\bnewsletter (?:bitte )?(?:abbestellen|abmelden|kündigen)\W*$
\b(?:d[ée]sabonne[zr]?|d[ée]sinscri(?:vez|re|s))[- ](?:moi|nous)\b
\b(?:me|nous) (?:d[ée]sabonner|d[ée]sinscrire)<ours>
\b(?:retirez|supprimez|enlevez|effacez|retirer|supprimer)[- ](?:moi|nous|mon (?:adresse|e-?mail|mail|contact))\b
  .{0,40}\b<list>\b
\bne (?:m'|me |nous )(?:(?:écrivez|écrire|contactez|contacter|sollicitez) plus\b|(?:envoyez|envoyer) plus(?:\W*$
  | rien\b| (?:de |d'|vos |des |aucun )(?:\w+ )?<mails>))
\b(?:arr[êe]tez|arrêter|cessez|cesser) (?:vos|ces) <mails>
\b(?:arr[êe]tez|arrêter|cessez|cesser) de (?:m'|me |nous )(?:écrire|contacter|spammer|harceler|solliciter
  |envoyer <some><mails>)\b
\bne plus (?:me |m'|nous )(?:contacter|écrire|envoyer|solliciter)\b
^\W*(?:merci )?(?:stop (?:aux|à vos|vos)|plus de) <mails>\b
\b(?:ne |je )(?:souhaite|souhaitons|veux|voulons|désire|désirons) plus (?:recevoir|être contactée?s?)\b
\b(?:d[ée]n?me|dame|dadme|darme|darnos|darse|dar|(?:me|nos) den?) de baja<ours>
^\W*no más <mails>\b
\bno (?:me|nos) (?:env[ií]en?|envíes|escriban?|escribas|contacten?|contactes|manden?|mandes)(?: \w+){0,2} más
  (?=\W*$|,|\W+(?:por favor|gracias|nada)\b| (?:\w+ ){0,2}<mails>)
\b(?:dejen|deje|deja|dejad) de (?:escribirme|contactarme|molestarme|(?:enviarme|mandarme) <some><mails>)\b
\bno (?:quiero|deseo|queremos|deseamos) (?:recibir más|(?:más )?recibir <some><mails>)\b
\b(?:b[oó]rr|elim[ií]n|qu[ií]t|s[aá]qu|elimin)\w{1,4}(?:me| mi (?:correo|e-?mail|dirección|nombre))\b.{0,30}\b<list>\b
\b(?:cancell|rimuov|disiscriv|togli|toglie)\w{0,4}(?:mi|ci)<ours>
\bnon (?:desidero|voglio|vogliamo|desideriamo) (?:più )?(?:essere contattat\w|ricevere (?:più )?<some>(?:<mails>|mail
  |$))
\bnon (?:mi|ci) (?:scriv|contatt|mand|invi)\w+ (?:\w+ ){0,2}?più\b
\bnon (?:scrivetemi|contattatemi|mandatemi|inviatemi|scrivermi|contattarmi|mandarmi|inviarmi)(?: \w+){0,2} più\b
^\W*basta (?:con (?:le|queste|i|questi) )?(?:<mails>|mail)\b
\b(?:smettetela|smettila|smettete|smetti|basta) (?:di )?(?:scrivermi|contattarmi|(?:inviarmi|mandarmi) <some>(?:<mails>
  |mail))\b
\b(?:(?:descadastr|remov|retir)\w{1,4}-me|me (?:remov|retir|descadastr|tir)\w{1,3})<ours>
\b(?:remov|retir|exclu)\w{1,3} (?:o )?meu (?:e-?mail|endereço|contato|contacto|nome|número)\b.{0,30}\b<list>\b
\bcancelar (?:mi |la )?suscripción (?:al|a la|a su|del|de la) (?:\w+ )?(?:bolet[ií]n|newsletter|lista)\b
\b(?:quero|queria|queremos|desejo|gostaria de) sair (?:da|dessa|desta|de sua|da sua) (?:\w+ )?lista\b
\bcancelar (?:a )?(?:minha )?(?:inscrição|subscrição|assinatura) (?:na|da|de|do) (?:\w+ )?(?:newsletter|lista
  |e-?mails?)\b
\b(?:parem|pare|deixem|deixe) de (?:me |nos )?(?:escrever|contatar|contactar|(?:enviar|mandar)(?:-me)? <some><mails>)\b
\bn[ãa]o (?:quero|desejo|queremos|desejamos) (?:mais )?receber <some><mails>\b
\bn[ãa]o (?:me|nos) (?:enviem?|mandem?|escrevam?|contatem?|contactem?)(?: \w+){0,2} mais\b
\b(?:meld|schrijf) (?:mij|me|ons) (?:(?:aub|a\.u\.b\.|alstublieft|graag) )?(?:af|uit)<ours>
\b(?:mij|me|ons) (?:graag )?(?:uitschrijven|afmelden)<ours>
^\W*(?:graag |aub )?geen <some>(?:<mails>|mail) meer\b
\b(?:mij|me|ons) te (?:verwijderen|schrappen) (?:uit|van) (?:\w+ ){0,2}<list>\b
^\W*(?:afmelden|uitschrijven) (?:voor|van) (?:\w+ )?(?:nieuwsbrief|mailinglijst|mailing)\b
\b(?:haal|verwijder) (?:mij|me|ons|mijn (?:adres|e-?mail\w*|gegevens)) .{0,30}\b<list>\b
\b(?:stop|stoppen|hou op) met (?:(?:mij|me|ons) )?(?:te )?(?:e-?mailen|mailen|<some><mails> (?:te )?(?:sturen
  |mij sturen))\b
\b(?:wil|wens|wensen|willen|stuur|gelieve)\b.{0,30}\bgeen <some>(?:<mails>|mail) meer\b
\b(?:wypis(?:z|anie|ać|zcie)|usuń|usunąć|usunięcie|usuńcie)\b.{0,40}\b<list>
\bproszę (?:już |więcej )?(?:nie )?(?:do mnie )?(?:pisać|wysyłać|kontaktować się)(?: do mnie| mi
  | ze mną)?(?: \w+)? więcej\b
\bnie (?:przysyłać|wysyłać|przysyłajcie|przysyłaj)(?: mi)? (?:\w+ ){0,2}<mails>
\bprzestań(?:cie)? (?:do mnie |mi )?(?:pisać|wysyłać <some><mails>)
\bnie (?:chcę|życzę sobie|chcemy) (?:już |więcej )*(?:otrzymywać|dostawać) (?:\w+ ){0,3}<mails>
\bnie życz\w+ sobie (?:\w+ ){0,2}<mails>
\b(?:o |proszę o )?(?:zaprzestanie|zaprzestać|zaprzestańcie|przestać) (?:wysyłania|wysyłać) (?:mi )?(?:\w+ )?<mails>
\bniet meer (?:gecontacteerd|benaderd|gemaild|geappt|gebeld) (?:te )?worden\b
\bsluta (?:skicka|mejla|maila|messa|smsa|kontakta|skriva)(?: (?:fler|er[at]|de här|sådana|till mig))*(?: <mails>
  | mig| till mig|\W*$)
\b(?:ta bort|radera|stryk) (?:mig|min (?:adress|e-?post\w*|mejl\w*)) från .{0,30}(?:<list>|utskick\w*)
\bjag vill inte (?:längre )?(?:ha|få|ta emot) (?:fler|mer|några|längre) (?:\w+ ){0,2}<mails>
\b(?:avregistrera|avprenumerera) mig\b
\b(?:afmeld|fjern|slet) mig (?:venligst )?fra .{0,30}<list>
\b(?:meld|fjern|slett) meg (?:av|fra) .{0,30}<list>
\b(?:stop med at|slutt å|slut med at) (?:sende|skrive|kontakte)\b
\b(?:beni|bizi|adresimi|numaramı|e-?posta\w*) .{0,40}list\w+ (?:çıkar|sil|kaldır)
\b(?:bana|bize) .{0,30}\b(?:\w*mesaj|e-?posta|mail|sms|reklam)\w* (?:gönderme|atma|yollama)y[ıi]n(?:[ıi]z)?\b
\babonelikten (?:çıkar(?:ın|ınız)?|çıkmak istiyor\w*|ayrılmak istiyor\w*)
(?:配信|メール|メルマガ|メッセージ|お知らせ|案内|広告)(?:の配信)?(?:を|の|は)?(?:停止|解除|中止
  |ストップ)(?:を)?(?:お願い|希望|して(?:ください|下さい|ほしい))
(?:メール|メルマガ|メッセージ|お知らせ|案内|広告)(?:を|は)?(?:もう|二度と|これ以上)?(?:送らないで|送信しないで
  |送るのをやめて|不要です|いりません)
(?:もう|二度と|これ以上)(?:連絡|メール|メッセージ)(?:を)?しないで
\bnie (?:piszcie|pisz|wysyłajcie|kontaktujcie się) (?:do mnie|mi|ze mną)?(?: \w+)?(?: więcej|$)
"""


def _compiled(listed: str) -> re.Pattern[str]:
    pattern = "|".join(entries(listed))
    for name in ("ours", "some", "mails", "list"):  # `ours` holds `list`
        pattern = pattern.replace(f"<{name}>", _NAMED[name])
    return re.compile(pattern)


PHRASES: Final = _compiled(_PHRASES)

# No opt-out without one of these: a cheap look before any other work.
STEMS: Final = tuple(
    sorted(
        _words(
            """
stop|unsub|opt out|opt-out|optout|opted out|opt me|opt us|quit|cease|desist|out of|remove|take|delete|drop|get me
contact|mail|text|message|write
bother|hear from|alone|no more|no longer|spam|abmeld|abbestell|austrag|melde|verteiler|newsletter|liste|nicht|nie|auf
werbung|nachrichten|désabonn|desabonn|désinscri|desinscri|arrêt|arret|cessez|ne m|ne nous|recevoir|contacté|baja|suscri
más|dejen|deje|deja|recibir|lista|base|disiscri|cancell|rimuov|togli|annulla|ricevere|scriv|smett|descadastr|inscri
remov
retir|pare|deixe|receber|mais|afmeld|uitschrij|schrijf|meld|geen|lijst|wypis|anuluj|rezygn|usuń|usunąć|usunię|przesta
avregistr|avslut|avprenum|tilaus|odhlás|moi|nous|msg|lose my|basta|contatta|zaprzesta|przestać|sluta|ta bort
radera|stryk
afmeld|fjern|slet|slutt|inte|abonelik|list|mesaj|posta|sms|отпи|配信|メール|メルマガ|メッセージ|お知らせ|案内|広告
連絡|購読|수신|退订|取消|iptal
"""
        )
    )
)
