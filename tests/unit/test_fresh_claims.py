"""Claims in words that the other tests do not use, in ten languages, against a context that holds none of them."""

import pytest

from agents.hard_blocks import BlockGroup, check_text
from schemas.context import DraftRunSnapshot
from tests.unit.test_hard_blocks import snapshot

INVENTED = (
    "It costs 49 euros a month.|USD49 per seat|It is £1,200.50 in total.|Das kostet 49,- €.|Cuesta 49 euros."
    "|Custa R$ 49,90.|Het kost € 49,-.|To kosztuje 49 zł.|Det kostar 49 kr.|Fiyatı 49 TL.|料金は4,900円です。|价格是49元。"
    "|It costs forty-nine dollars.|You get a 20% discount.|You get twenty percent off.|half price this week"
    "|Vous avez 20 % de remise.|Le ofrecemos un 20 por ciento.|We deliver on 5 May.|on 2027-05-05|Wir liefern am 5. Mai."
    "|Nous livrons le 5 mai.|Entregamos em 5 de maio.|Consegniamo il 5 maggio.|Dostarczymy 5 maja."
    "|Vi levererar den 5 augusti.|5 Mayıs'ta teslim ederiz.|5月5日にお届けします。|See you next Tuesday.|We deliver tomorrow."
    "|Wir liefern morgen.|Vi levererar på fredag.|We open at 9 am.|Wir öffnen um 9 Uhr.|Nous ouvrons à 9h30."
    "|Abrimos a las 9.|at noon|See acme-help.com for details.|Write to help@acme-help.example|Call +49 30 1234567."
    "|Call 1-800-FLOWERS now|Your order AB-12345 is here.|Your ticket #48213 is open.|Tracking number 1Z999AA10123456784"
    "|We guarantee that it works.|We will definitely fix it.|I have cancelled your order.|Your parcel has been shipped."
    "|Ich habe Ihre Bestellung storniert.|J'ai annulé votre commande.|Hemos cancelado su pedido."
    "|Abbiamo annullato l'ordine.|Wir garantieren Ihnen die Lieferung.|Le garantizamos la devolución."
).split("|")
HARMLESS = (
    "Thank you for your message, we will look into it.|You can change your name in the settings, under Profile."
    "|One of our colleagues will get back to you.|First, open the menu. Second, choose Export."
    "|Two things could be the reason: the cable or the plug.|Step 1: open the menu. Step 2: choose Export."
    "|We looked at it today.|Bitte öffnen Sie das Menü und wählen Sie Exportieren.|Merci pour votre message."
    "|Once your account has been activated, you can sign in.|Ich habe gesehen, dass Sie das Konto geändert haben."
    "|The march of progress!|Have you changed the cable?|We cannot say whether your parcel has been shipped."
    "|Have a nice Sunday!|May I ask which version you use?|I am sorry that we have not cancelled it."
).split("|")


def claims_in(text: str, run: DraftRunSnapshot) -> list[str]:
    """The claims of a text that block it; in which language it is does not matter here."""
    return [block.rule for block in check_text(text, run) if block.group is BlockGroup.CLAIMS]


@pytest.mark.parametrize("text", INVENTED)
def test_what_nobody_stated_blocks(text: str) -> None:
    """Amounts, shares, days, times, links, addresses, numbers, promises, and deeds that nobody did."""
    assert claims_in(text, snapshot("Hello, can you help me?"))


@pytest.mark.parametrize("text", INVENTED)
def test_the_same_does_not_block_where_it_is_known(text: str) -> None:
    """Verified knowledge states it, and the workspace allows the promise."""
    run = snapshot(text)
    allowed = run.settings.model_copy(update={"allowed_promises": (text,)})
    assert claims_in(text, run.model_copy(update={"settings": allowed})) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_words_without_a_claim_pass(text: str) -> None:
    """Courtesies, steps, questions, conditions and refusals state nothing."""
    assert claims_in(text, snapshot("Hello, can you help me?")) == []
