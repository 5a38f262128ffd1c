"""Enumerates all derivations of a grammar by brute force, for tests to compare with."""

from sfvae_jax.grammars.grammar import is_terminal


def derivations(grammar, most):
    """Returns all derivations with at most so many rules, as tuples."""
    found, pending = [], [((), (grammar.start,))]
    while pending:
        rules, symbols = pending.pop()
        if not symbols:
            found.append(rules)
        elif len(rules) + len(symbols) <= most:
            pending += [
                (
                    (*rules, index),
                    (*(s for s in rule.right if not is_terminal(s)), *symbols[1:]),
                )
                for index, rule in enumerate(grammar.rules)
                if rule.left == symbols[0]
            ]
    return found
