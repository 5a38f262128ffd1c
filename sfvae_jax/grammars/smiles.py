"""SMILES molecules (Weininger, 1988; OpenSMILES, 2016; GrammarVAE, Kusner et al. 2017)."""

from sfvae_jax.grammars.grammar import Grammar

_ORGANIC = "C N O S P F Cl Br I B c n o s p b *"  # atoms that are written without brackets
_DIGITS = "1 2 3 4 5 6 7 8 9 0"
_PERIODIC_TABLE = """
    H He
    Li Be B C N O F Ne
    Na Mg Al Si P S Cl Ar
    K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr
    Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe
    Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu
    Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn
    Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr
    Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
_AROMATIC = "b c n o p s se as si te"  # those of OpenSMILES, and two more that RDKit writes
_COMMON_ELEMENTS = (
    "H Li B C N O F Na Mg Al Si P S Cl K Ca Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Zr Mo Tc Ru"
    " Rh Pd Ag Sn Sb Te I Ba Gd Pt Au Hg Pb Bi c n o s p b se *"
)


def _each(terminals: str, then: str = "") -> str:
    """Returns alternatives: each terminal, followed by a symbol if one is given."""
    return " | ".join(f'"{terminal}" {then}' for terminal in terminals.split())


def _smiles(elements: str, bonds: str, chirality: str, charge: str) -> Grammar:
    """Returns a grammar of SMILES with the given elements and alternatives in brackets.

    A chain is an atom followed by `more`. The rules of `more` list the atoms again, so that an atom
    without a bond before it takes one rule instead of two; this makes molecules a third shorter.
    Like every context-free grammar, this one can neither require that rings close nor limit the
    bonds of an atom.
    """
    return Grammar(rf"""
        chain -> {_each(_ORGANIC, then="more")}
        chain -> "[" element chirality hydrogens charge class "]" more
        chain -> "[" number element chirality hydrogens charge class "]" more
        more -> | {_each(_ORGANIC, then="more")}
        more -> "[" element chirality hydrogens charge class "]" more
        more -> "[" number element chirality hydrogens charge class "]" more
        more -> {_each(_DIGITS, then="more")} | "%" digit digit more
        more -> bond chain | bond digit more | bond "%" digit digit more
        more -> "(" chain ")" more | "(" bond chain ")" more | "(" "." chain ")" more | "." chain
        bond -> {_each(bonds)}
        digit -> {_each(_DIGITS)}
        element -> {_each(elements)}
        chirality -> {chirality}
        hydrogens -> | "H" | "H" digit
        charge -> {charge}
        number -> digit | digit number
        class -> | ":" number
    """)


_TWO_WAYS = '| "@" | "@@"'
_ONE_DIGIT = '| "+" | "-" | "+" digit | "-" digit | "++" | "--"'

# OpenSMILES, with all elements, isotopes, charges, chirality and atom classes in brackets.
SMILES = _smiles(
    f"{_PERIODIC_TABLE} {_AROMATIC} *",
    bonds=r"- = # $ / \ :",
    chirality=_TWO_WAYS
    + f" | {_each('@TH1 @TH2 @AL1 @AL2 @SP1 @SP2 @SP3')}"
    + ' | "@TB" digit | "@TB" digit digit | "@OH" digit | "@OH" digit digit',
    charge=_ONE_DIGIT + ' | "+" digit digit | "-" digit digit',
)

# SMILES of common elements, with tetrahedral chirality and charges up to 9.
COMMON_SMILES = _smiles(
    _COMMON_ELEMENTS, bonds=r"- = # / \ :", chirality=_TWO_WAYS, charge=_ONE_DIGIT
)
