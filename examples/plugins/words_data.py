"""Sequences of one's own: words in `a` and `b`, one per line of a text file.

--config=configs/equations.py --config.plugins=examples/plugins/words_data.py
--config.data.name=words:PATH --config.data.longest_word=12 --config.data.num_test=N
"""

from sfvae_jax import plugins
from sfvae_jax.data.sequences.text import TEXT_OPTIONS, TextFormat, open_text, text_language
from sfvae_jax.grammars import Grammar

GRAMMAR = Grammar('w -> "a" w | "b" w | "a" | "b"')
FILES = TextFormat("words", "words")


def language(settings):
    return text_language("words", GRAMMAR, settings, settings.longest_word, settings.longest_word)


def open_words(settings, path):
    return open_text(path, language(settings), FILES, skip_corrupt=settings.skip_corrupt)


WORDS = plugins.SequenceKind(
    "words",
    "word",
    language,
    is_valid=lambda text: bool(text) and set(text) <= set("ab"),
    own_options={"longest_word": plugins.Option(12, plugins.COUNT, "Letters of the longest word")},
)
plugins.register(
    plugins.DataSource(
        name="words:",
        help="a text file of words in a and b, one per line",
        open=open_words,
        kind=WORDS,
        options=(*TEXT_OPTIONS, "longest_word"),
        splits=("train",),
        held_out_by="the word",
    )
)
