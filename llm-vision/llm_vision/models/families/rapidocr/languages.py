"""Languages whose alphabets the PP-OCRv6 small recogniser knows: code (BCP 47) to English name.

Checked against the character list inside the model by tests/models/test_rapidocr.py. It has no Korean, Cyrillic,
Greek, Arabic, Thai or Indic characters, and not the letters of Vietnamese.
"""

LANGUAGES = {
    "ja": "Japanese", "zh": "Chinese", "en": "English",
    "af": "Afrikaans", "az": "Azerbaijani", "bs": "Bosnian", "ca": "Catalan", "cs": "Czech", "cy": "Welsh",
    "da": "Danish", "de": "German", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "gl": "Galician", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ku": "Kurdish", "la": "Latin", "lb": "Luxembourgish", "lt": "Lithuanian",
    "lv": "Latvian", "mi": "Maori", "ms": "Malay", "mt": "Maltese", "nl": "Dutch", "no": "Norwegian",
    "oc": "Occitan", "pl": "Polish", "pt": "Portuguese", "qu": "Quechua", "rm": "Romansh", "ro": "Romanian",
    "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian", "sr-Latn": "Serbian (Latin)", "sv": "Swedish",
    "sw": "Swahili", "tl": "Tagalog", "tr": "Turkish",
}  # fmt: skip
