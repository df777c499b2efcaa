"""PP-OCRv6 by RapidOCR: lines, pages, furigana, panels."""

from . import model as model  # registers it
