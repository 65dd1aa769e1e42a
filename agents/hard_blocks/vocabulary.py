"""Words that mark amounts, dates and times in the languages we meet (en, de, fr, es, it, pt, nl, pl, sv, tr). Data."""

from typing import Final


def _numbered(rows: str, first: int) -> dict[str, int]:
    """Word to number: one row per number, beginning with `first`."""
    return {word: number for number, row in enumerate(rows.strip().splitlines(), first) for word in row.split()}


MONTHS: Final = _numbered(
    """
january jan januar janvier janv enero ene gennaio janeiro januari stycznia styczeń jänner ocak
february feb februar février fevrier févr febrero febbraio febr fevereiro fev februari lutego luty şubat
march mar märz maerz mrz mars marzo março marco maart mrt marca marzec mart
april apr avril avr abril abr aprile kwietnia kwiecień nisan
may mai mayo maggio maio mei maja maj mayıs
june jun juni juin junio giugno giu junho czerwca czerwiec haziran
july jul juli juillet juil julio luglio lug julho lipca lipiec temmuz
august aug août aout agosto augustus sierpnia sierpień augusti ağustos
september sep sept septembre septiembre settembre setembro września wrzesień eylül
october oct oktober okt octobre octubre ottobre ott outubro października październik ekim
november nov novembre noviembre novembro listopada listopad kasım
december dec dezember dez décembre decembre déc diciembre dic dicembre dezembro grudnia grudzień aralık
""",
    1,
)
WEEKDAYS: Final = _numbered(
    """
monday mondays montag montags lundi lunes lunedì segunda-feira maandag poniedziałek poniedziałku poniedziałki
tuesday tuesdays dienstag dienstags mardi martes martedì terça-feira dinsdag wtorek wtorku wtorki
wednesday wednesdays mittwoch mittwochs mercredi miércoles mercoledì quarta-feira woensdag środa środę środy
thursday thursdays donnerstag donnerstags jeudi jueves giovedì quinta-feira donderdag czwartek czwartku czwartki
friday fridays freitag freitags vendredi viernes venerdì sexta-feira vrijdag piątek piątku piątki
saturday saturdays samstag samstags sonnabend samedi sábado sabado sabato zaterdag sobota sobotę soboty
sunday sundays sonntag sonntags dimanche domingo domenica zondag niedziela niedzielę niedziele
""",
    0,
) | _numbered(
    """
måndag pazartesi
tisdag salı
onsdag çarşamba
torsdag perşembe
fredag cuma
lördag cumartesi
söndag
""",
    0,
)
# Only beside a date: alone they are other words.
SHORT_WEEKDAYS: Final = WEEKDAYS | _numbered(
    """
mon mo lun seg ma pn
tue tues di mar ter wt
wed mi mer mié qua wo śr
thu thur thurs do jeu jue gio qui cz
fri fr ven vie sex vr pt
sat sa sam sáb sab za sb
sun so dim dom zo nd
""",
    0,
)
# Days from today.
RELATIVE_DAYS: Final = {
    **dict.fromkeys("today heute hoy oggi hoje vandaag dzisiaj dziś aujourd'hui idag bugün".split(), 0),
    **dict.fromkeys("tomorrow morgen demain mañana domani amanhã jutro imorgon yarın".split(), 1),
    **dict.fromkeys("übermorgen après-demain overmorgen pojutrze".split(), 2),
}
CLOCK_WORDS: Final = {
    "noon": 720,
    "midday": 720,
    "midnight": 0,
    "mittags": 720,
    "mitternacht": 0,
    "midi": 720,
    "minuit": 0,
}

SYMBOLS: Final = {
    "$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₴": "UAH",
    "₪": "ILS", "฿": "THB", "₫": "VND", "₦": "NGN", "₱": "PHP", "₿": "BTC",
    "円": "JPY", "元": "CNY", "원": "KRW",
}  # fmt: skip
DOLLARS: Final = {
    "us": "USD",
    "a": "AUD",
    "au": "AUD",
    "c": "CAD",
    "ca": "CAD",
    "nz": "NZD",
    "hk": "HKD",
    "s": "SGD",
    "r": "BRL",
}
CURRENCIES: Final = {
    **{code.lower(): code for code in "USD EUR GBP JPY INR RUB TRY KRW UAH ILS THB VND CHF SEK NOK DKK PLN CZK HUF RON"
       " BGN AUD CAD NZD HKD SGD CNY BRL MXN ZAR AED SAR BTC ETH".split()},
    **dict.fromkeys("dollar dollars bucks dólares dollari".split(), "USD"),
    **dict.fromkeys("euro euros euroa eurů".split(), "EUR"),
    **dict.fromkeys("pound pounds quid sterling".split(), "GBP"),
    **dict.fromkeys("franken francs franchi".split(), "CHF"),
    **dict.fromkeys("zł złotych złoty złote".split(), "PLN"),
    "reais": "BRL",
    **dict.fromkeys("rupee rupees rs".split(), "INR"),
    **dict.fromkeys("kronor kroner kr".split(), "SEK"),
    **dict.fromkeys("tl lira liras".split(), "TRY"),
    "kč": "CZK", "lei": "RON", "руб": "RUB",
    "yen": "JPY", "pesos": "MXN", "yuan": "CNY", "cent": "cent", "cents": "cent", "pence": "penny",
}  # fmt: skip
# Powers of ten that follow a number.
SCALES: Final = {
    **dict.fromkeys("k thousand tausend mille mil duizend tysięcy tys".split(), 3),
    **dict.fromkeys("m mn mio million millions millionen millones milioni milhões miljoen milionów mln".split(), 6),
    **dict.fromkeys("bn billion billions milliarden mrd milliards miliardi".split(), 9),
}
NUMBER_WORDS: Final = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17,
    "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90, "hundred": 100, "thousand": 1_000, "million": 1_000_000,
}  # fmt: skip

# Minutes east of UTC. Where people name a region, not an offset, the zone decides whether summer time is on.
OFFSETS: Final = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "CET": 60, "MEZ": 60, "BST": 60, "WEST": 60, "CEST": 120, "MESZ": 120,
    "EET": 120, "EEST": 180, "MSK": 180, "EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360,
    "PST": -480, "PDT": -420, "IST": 330, "SGT": 480, "HKT": 480, "JST": 540, "AEST": 600, "AEDT": 660,
}  # fmt: skip
REGIONS: Final = {
    "et": "America/New_York", "eastern": "America/New_York", "ct": "America/Chicago", "central": "America/Chicago",
    "mt": "America/Denver", "mountain": "America/Denver", "pt": "America/Los_Angeles", "pacific": "America/Los_Angeles",
    "uk": "Europe/London", "london": "Europe/London", "berlin": "Europe/Berlin", "german": "Europe/Berlin",
    "central european": "Europe/Berlin", "paris": "Europe/Paris", "madrid": "Europe/Madrid", "rome": "Europe/Rome",
    "amsterdam": "Europe/Amsterdam", "warsaw": "Europe/Warsaw", "vienna": "Europe/Vienna", "zurich": "Europe/Zurich",
    "lisbon": "Europe/Lisbon", "new york": "America/New_York", "chicago": "America/Chicago", "tokyo": "Asia/Tokyo",
    "los angeles": "America/Los_Angeles", "sydney": "Australia/Sydney", "singapore": "Asia/Singapore",
}  # fmt: skip
# "Your time" is the lead's, "our time" the workspace's.
LEAD_TIME: Final = "lead"
WORKSPACE_TIME: Final = "workspace"
