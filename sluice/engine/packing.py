"""Length-aware batches: how to cut a batch so that short texts are not padded to the longest.

A sub-batch costs its padded tokens, texts x longest, and a constant overhead. Sorted by length, the best cut is a
least-weight subsequence (Hirschberg and Larmore, SIAM J. Comput. 16, 1987); because a sub-batch's cost is linear in
the number of texts before it, the lower envelope of lines finds it in linear time after the sort (Galil and Park,
Theoret. Comput. Sci. 92, 1992).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def pack(lengths: Sequence[int], *, overhead: int) -> list[list[int]]:
    """Cut a batch of texts with `lengths` tokens into sub-batches, each a list of places in `lengths`.

    The sum of texts x longest + `overhead` (tokens, at least 0) over the sub-batches is the least possible. Texts of
    one length stay together, so that a batch's order has no part in who is computed with whom; sub-batches come
    shortest first, and places in a sub-batch in their order. Raises ValueError when `overhead` is negative.
    """
    if overhead < 0:
        raise ValueError(f"an overhead of {overhead} tokens is negative")
    counts = sorted(Counter(lengths).items())
    cuts = _cuts(counts, overhead)
    part_of = {length: part for part, (begin, end) in enumerate(cuts) for length, _ in counts[begin:end]}
    parts: list[list[int]] = [[] for _ in cuts]
    for place, length in enumerate(lengths):
        parts[part_of[length]].append(place)
    return parts


def _cuts(counts: Sequence[tuple[int, int]], overhead: int) -> list[tuple[int, int]]:
    """Half-open ranges of the distinct lengths `counts`, (length, texts) ascending, that cost the least together.

    With cost[j] the least for the first j lengths and texts[j] their texts, cost[j] is the minimum over i < j of
    cost[i] + (texts[j] - texts[i]) x length[j] + overhead: at x = length[j], the lowest of the lines with slope
    -texts[i] and value cost[i] at 0. Slopes fall and x rises, so a line once beaten never wins again.
    """
    cost, texts, begins = [0], [0], [0]
    hull: list[int] = [0]
    first = 0
    for end, (length, count) in enumerate(counts, start=1):
        begin = hull[first]
        while first + 1 < len(hull) and _at(hull[first + 1], length, cost, texts) < _at(begin, length, cost, texts):
            first += 1
            begin = hull[first]
        begins.append(begin)
        texts.append(texts[-1] + count)
        cost.append(_at(begin, length, cost, texts) + texts[end] * length + overhead)
        while len(hull) - first >= 2 and _is_beaten(hull[-2], hull[-1], end, cost, texts):
            hull.pop()
        hull.append(end)
    ranges = []
    end = len(counts)
    while end:
        ranges.append((begins[end], end))
        end = begins[end]
    return ranges[::-1]


def _at(line: int, length: int, cost: Sequence[int], texts: Sequence[int]) -> int:
    return cost[line] - texts[line] * length


def _is_beaten(before: int, line: int, after: int, cost: Sequence[int], texts: Sequence[int]) -> bool:
    """Whether `line` is nowhere below both of its neighbours: they meet before `line` gets below `before`."""
    left = (cost[after] - cost[before]) * (texts[line] - texts[before])
    right = (cost[line] - cost[before]) * (texts[after] - texts[before])
    return left <= right
