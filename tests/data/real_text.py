"""Harmless text in many scripts."""

# One sentence in each language of the experiment's table.
SENTENCES = {
    "ar": "القطة تنام على الكرسي",
    "cs": "Kočka spí na židli",
    "de": "Die Katze schläft auf dem Stuhl",
    "en": "The cat sleeps on the chair",
    "es": "El gato duerme en la silla, ¿no?",
    "fr": "Le chat dort sur la chaise où il rêve",
    "hi": "बिल्ली कुर्सी पर सोती है",
    "id": "Kucing tidur di kursi",
    "it": "Il gatto dorme sulla sedia perché è stanco",
    "ja": "猫はイスの上で眠っています",
    "ko": "고양이가 의자에서 잔다",
    "nl": "De kat slaapt op de stoel",
    "pl": "Kot śpi na krześle",
    "pt": "O gato dorme na cadeira, não?",
    "ru": "Кошка спит на стуле",
    "sv": "Katten sover på stolen",
    "zh": "猫在椅子上睡觉",
}

# What text does to those who split, strip or re-encode it carelessly; scripts beyond the table's included.
HARD_TEXTS = {
    "line separator": "first\u2028second\u2029third",
    "next line, form feed": "first\u0085second\x0cthird\x1cfourth",
    "line feed": "first\nsecond\r\nthird",
    "right to left with marks": "\u200fشكرًا \u202bjson\u202c — ٣٤",
    "zero width joiner": "می‌خواهم 👩‍👩‍👧‍👦",
    "astral": "𝒟𝓸𝔤 🐈 𠜎",
    "combining": "Ame\u0301lie Amélie ｱﾒﾘ",
    "Greek": "Η γάτα κοιμάται",
    "Hebrew": "החתולה ישנה",
    "Thai": "แมวนอนบนเก้าอี้",
    "Tamil": "பூனை தூங்குகிறது",
    "Georgian": "კატას სძინავს",
    "Armenian": "Կատուն քնած է",
    "markup": "<b>\"cat\" & 'dog'</b> \\n \t tab",
    "outer spaces": "  kept as they are ",
}
