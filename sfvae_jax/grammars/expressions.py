"""Arithmetic expressions in x (GrammarVAE, Kusner et al. 2017; RAE Section 6.2)."""

from sfvae_jax.grammars.grammar import Grammar

EXPRESSIONS = Grammar(
    """
    s -> s "+" t | s "*" t | s "/" t | t
    t -> "(" s ")" | "sin(" s ")" | "exp(" s ")" | "x" | "1" | "2" | "3"
    """,
    separator=" ",
)
