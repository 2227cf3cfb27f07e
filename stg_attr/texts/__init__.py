"""Texts as people have them: strings, whose words are shown or hidden."""

from .given import Texts
from .strings import over_words
from .tokenized import Tokenized

__all__ = ["Texts", "Tokenized", "over_words"]
