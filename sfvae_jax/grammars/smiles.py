"""SMILES molecules (Weininger, 1988; GrammarVAE, Kusner et al. 2017).

Elements are those that molecules are commonly made of; quadruple bonds and chirality that is not
tetrahedral are left out.
"""

from sfvae_jax.grammars.grammar import Grammar

_ORGANIC = "C N O S P F Cl Br I B c n o s p b *"  # atoms that need no brackets
_ELEMENTS = (
    "H Li B C N O F Na Mg Al Si P S Cl K Ca Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Zr Mo Tc Ru"
    " Rh Pd Ag Sn Sb Te I Ba Gd Pt Au Hg Pb Bi c n o s p b se *"
)
_DIGITS = "1 2 3 4 5 6 7 8 9 0"


def _each(terminals: str, then: str = "") -> str:
    """Alternatives: each terminal, and a symbol after it."""
    return " | ".join(f'"{terminal}" {then}' for terminal in terminals.split())


# A chain is an atom and more. The atoms stand in `more` again, so that one that follows without a
# bond takes one rule and not two: molecules are a third shorter. What no context-free grammar
# says (that a ring closes, how many bonds an atom has) this one leaves open, too.
SMILES = Grammar(rf"""
    chain -> {_each(_ORGANIC, then="more")}
    chain -> "[" element chirality hydrogens charge class "]" more
    chain -> "[" number element chirality hydrogens charge class "]" more
    more -> | {_each(_ORGANIC, then="more")}
    more -> "[" element chirality hydrogens charge class "]" more
    more -> "[" number element chirality hydrogens charge class "]" more
    more -> {_each(_DIGITS, then="more")} | "%" digit digit more
    more -> bond chain | bond digit more | bond "%" digit digit more
    more -> "(" chain ")" more | "(" bond chain ")" more | "(" "." chain ")" more | "." chain
    bond -> "-" | "=" | "#" | "/" | "\" | ":"
    digit -> {_each(_DIGITS)}
    element -> {_each(_ELEMENTS)}
    chirality -> | "@" | "@@"
    hydrogens -> | "H" | "H" digit
    charge -> | "+" | "-" | "+" digit | "-" digit | "++" | "--"
    number -> digit | digit number
    class -> | ":" number
""")
