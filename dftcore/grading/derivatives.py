r"""Quotients that are derivatives: ``\frac{dy}{dx}`` is no ``y/x``, and ``\frac{\partial f}{\partial x}`` no ``f/x``.

Usage: ``over(top, bottom)`` is a quotient, or a Func ``derivative`` of what is derived and the variables with orders.
"""

from __future__ import annotations

from dftcore.grading.nodes import MINUS_ONE, ONE, Func, Mul, Node, Num, Pow, Sym

_SIGNS = (Sym("d"), Sym("partial"))


def over(top: Node, bottom: Node) -> Node:
    """``top / bottom`` as it is written; letters before a derivative multiply it, as in ``x dy/dx``."""
    above = top.factors if isinstance(top, Mul) else (top,)
    below = _variables(bottom)
    if below and len(above) > 1 and _is_sign(above[-2]) and isinstance(above[-1], (Sym, Func)):
        derived = Func("derivative", (above[-1], *below))
        return Mul((*above[:-2], derived)) if above[:-2] else derived
    if below and len(above) == 1 and _is_sign(top):
        return Func("derivative", (ONE, *below))
    return Mul((*above, Pow(bottom, MINUS_ONE)))


def _is_sign(node: Node) -> bool:
    return node in _SIGNS or (isinstance(node, Pow) and node.base in _SIGNS and isinstance(node.exponent, Num))


def _variables(bottom: Node) -> tuple[Node, ...]:
    """``x`` of ``dx``, ``x^2`` of ``dx^2``, both letters of ``\\partial x\\partial y``; nothing for others."""
    factors = bottom.factors if isinstance(bottom, Mul) else ()
    signs, letters = factors[::2], factors[1::2]
    paired = bool(factors) and len(signs) == len(letters) and all(sign in _SIGNS for sign in signs)
    return letters if paired and all(map(_is_letter, letters)) else ()


def _is_letter(node: Node) -> bool:
    return isinstance(node, Sym) or (isinstance(node, Pow) and isinstance(node.base, Sym))
