"""Einsum: products of two at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qcore.frameworks.onnx.model.source import SourceNode
from qcore.frameworks.onnx.op import Op, Reader, as_steps

__all__ = ["OPS"]


def _read(node: SourceNode, reader: Reader) -> None:
    terms, output = _parsed(node, reader)
    operands = list(zip(node.inputs, terms, strict=True))
    name, term = _summed(reader, *operands[0], "".join(terms[1:]) + output)
    for at, (other, letters) in enumerate(operands[1:], 2):
        wanted = "".join(terms[at:]) + output
        other, letters = _summed(reader, other, letters, term + wanted)
        name, term = _product(reader, (name, term), (other, letters), wanted)
        name, term = _summed(reader, name, term, wanted)
    perm = tuple(term.index(letter) for letter in output)
    if perm == tuple(range(len(perm))):
        reader.add("Identity", [name], node.outputs)
    else:
        reader.add("Transpose", [name], node.outputs, perm=perm)


def _parsed(node: SourceNode, reader: Reader) -> tuple[list[str], str]:
    """Return the letters of each operand and of the output; an ellipsis is letters of its own."""
    equation = str(node.get("equation", "")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")

    def refuse(why: str) -> ValueError:
        return ValueError(f"node {node.name!r} (Einsum) has the equation {equation!r}: {why}")

    if len(terms) != len(node.inputs):
        raise refuse(f"{len(terms)} operands, and {len(node.inputs)} inputs")
    letters = set(equation) - set(",->.")
    if not all(letter.isalpha() for letter in letters):
        raise refuse("it has more than letters")
    free = [chr(code) for code in range(0x3B1, 0x3B1 + 16)]
    most = ""
    for at, term in enumerate(terms):
        if "..." not in term:
            if "." in term:
                raise refuse("it has a lone point")
            continue
        rank = reader.rank(node.inputs[at])
        if rank is None:
            reader.miss("Einsum with an ellipsis for a value of unknown dims", node.name)
            rank = len(term) - 3
        count = rank - (len(term) - 3)
        if not 0 <= count <= len(free):
            raise refuse(f"operand {at} has {rank} dims")
        own = "".join(free[len(free) - count :])
        most = own if len(own) > len(most) else most
        terms[at] = term.replace("...", own)
    whole = "".join(terms)
    if arrow:
        output = right.replace("...", most)
    else:
        once = sorted(i for i in set(whole) if whole.count(i) == 1 and i not in free)
        output = most + "".join(once)
    if len(set(output)) < len(output) or not set(output) <= set(whole) or "." in output:
        raise refuse("the output has a letter twice, or one that no operand has")
    if any(len(set(term)) < len(term) for term in terms):
        reader.miss("Einsum of a diagonal", node.name)
        terms = ["".join(dict.fromkeys(term)) for term in terms]
    return terms, output


def _summed(reader: Reader, name: str, term: str, wanted: str) -> tuple[str, str]:
    """Sum over the axes that nothing else has."""
    axes = [at for at, letter in enumerate(term) if letter not in wanted]
    if not axes:
        return name, term
    kept = "".join(letter for letter in term if letter in wanted)
    return reader.add("ReduceSum", [name, reader.ints(axes)], keepdims=0), kept


def _ordered(reader: Reader, name: str, term: str, order: str) -> str:
    perm = tuple(term.index(letter) for letter in order)
    if perm == tuple(range(len(perm))):
        return name
    return reader.add("Transpose", [name], perm=perm)


def _product(
    reader: Reader, one: tuple[str, str], two: tuple[str, str], wanted: str
) -> tuple[str, str]:
    """Return the product of two operands, and its letters."""
    (a, of_a), (b, of_b) = one, two
    both = [letter for letter in of_a if letter in of_b]
    batch = "".join(letter for letter in both if letter in wanted)
    inner = "".join(letter for letter in both if letter not in wanted)
    rows = "".join(letter for letter in of_a if letter not in of_b)
    columns = "".join(letter for letter in of_b if letter not in of_a)
    if not inner:  # nothing is summed: a product of elements
        order = batch + rows + columns
        a = _ordered(reader, a, of_a, batch + rows)
        b = _ordered(reader, b, of_b, batch + columns)
        if columns:
            axes = [len(batch) + len(rows) + at for at in range(len(columns))]
            a = reader.add("Unsqueeze", [a, reader.ints(axes)])
        if rows:
            axes = [len(batch) + at for at in range(len(rows))]
            b = reader.add("Unsqueeze", [b, reader.ints(axes)])
        return reader.add("Mul", [a, b]), order
    a = _ordered(reader, a, of_a, batch + rows + inner)
    b = _ordered(reader, b, of_b, batch + inner + columns)
    if not batch and len(inner) == 1 and len(columns) == 1 and rows:
        return reader.add("MatMul", [a, b]), rows + columns
    shapes = [reader.add("Shape", [name]) for name in (a, b)]
    count = len(batch)
    a = _flat(reader, a, shapes[0], (count, len(rows), len(inner)))
    b = _flat(reader, b, shapes[1], (count, len(inner), len(columns)))
    value = reader.add("MatMul", [a, b])
    if len(rows) == 1 and len(columns) == 1:
        return value, batch + rows + columns
    found = [_cut(reader, shapes[0], 0, count + len(rows))]
    found.append(_cut(reader, shapes[1], count + len(inner), count + len(inner) + len(columns)))
    target = reader.add("Concat", found, axis=0)
    return reader.add("Reshape", [value, target]), batch + rows + columns


def _cut(reader: Reader, shape: str, start: int, end: int) -> str:
    return reader.add("Slice", [shape, reader.ints(start), reader.ints(end)])


def _flat(reader: Reader, name: str, shape: str, counts: Sequence[int]) -> str:
    """Return a value with one axis for each of its last two groups of axes."""
    batch, first, second = counts
    if first == second == 1:
        return name
    parts = [_cut(reader, shape, 0, batch)] if batch else []
    for start, count in ((batch, first), (batch + first, second)):
        if count == 0:
            parts.append(reader.constant(np.ones(1, np.int64)))
            continue
        sizes = _cut(reader, shape, start, start + count)
        parts.append(reader.add("ReduceProd", [sizes, reader.ints(0)], keepdims=1))
    return reader.add("Reshape", [name, reader.add("Concat", parts, axis=0)])


OPS: dict[str, Op] = {"Einsum": as_steps(_read, (1, None), 1, "equation")}
