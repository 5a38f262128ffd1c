"""Grammars: sentences as sequences of rules, the rules that each place allows, and meanings."""

from sfvae_jax.grammars.counting import Sentences
from sfvae_jax.grammars.expressions import EXPRESSIONS
from sfvae_jax.grammars.grammar import Grammar, ParseError, Rule
from sfvae_jax.grammars.language import Language, TooLong, sequence_grammar
from sfvae_jax.grammars.smiles import COMMON_SMILES, SMILES
from sfvae_jax.grammars.tables import Derivation, RuleTables, rule_tables

__all__ = [
    "COMMON_SMILES",
    "EXPRESSIONS",
    "SMILES",
    "Derivation",
    "Grammar",
    "Language",
    "ParseError",
    "Rule",
    "RuleTables",
    "Sentences",
    "TooLong",
    "rule_tables",
    "sequence_grammar",
]
