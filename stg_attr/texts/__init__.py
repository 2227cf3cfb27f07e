"""Texts as people have them: strings, whose words are shown or hidden."""

from .given import Texts
from .strings import over_words

__all__ = ["Texts", "over_words"]
