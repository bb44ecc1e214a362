"""Typing errors as hurried people make them: slips of the finger in Latin script, homophones in Chinese."""

from __future__ import annotations

import re
from random import Random

_WORD = re.compile(r"[A-Za-z]{4,}")
_HANZI = re.compile(r"[\u4e00-\u9fff]")
_NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_HOMOPHONES = {
    "订单": "定单", "快递": "快弟", "包裹": "包果", "退款": "退宽", "退货": "退获", "取消": "取肖", "地址": "地止",
    "发票": "发飘", "账号": "帐号", "账户": "帐户", "密码": "蜜码", "优惠": "优会", "客服": "客福", "换货": "换获",
    "付款": "付宽", "支付": "支负", "收到": "受到", "什么": "神马", "时候": "时侯", "已经": "以经", "现在": "现再",
    "知道": "只道", "登录": "登陆", "尺码": "尺吗", "有货": "有获", "物流": "勿流", "投诉": "投述", "经理": "经里",
    "反映": "反应", "破损": "破省", "材质": "才质", "收据": "收剧", "修改": "修该", "仓库": "仓酷", "需要": "须要",
}  # fmt: skip
_PROTECTED = frozenset("不没别无非第一二三四两")
"""Characters that carry negation or place: doubling one would change what the sentence says."""


def misspell(text: str, rng: Random) -> str:
    """Returns the text with one or two typing errors in it, never in a digit, a negation or a short word."""
    for _ in range(1 + (rng.random() < 0.4)):
        text = _slip(text, rng)
    return text


def _slip(text: str, rng: Random) -> str:
    words = [match.span() for match in _WORD.finditer(text) if not _inside_code(text, match.start(), match.end())]
    pairs = [pair for pair in _HOMOPHONES if pair in text]
    hanzi = [match.start() for match in _HANZI.finditer(text) if match[0] not in _PROTECTED]
    if pairs and (not words or rng.random() < 0.8):
        pair = rng.choice(pairs)
        return text.replace(pair, _HOMOPHONES[pair], 1)
    if words and (not hanzi or rng.random() < 0.5):
        start, end = rng.choice(words)
        return text[:start] + _mistype(text[start:end], rng) + text[end:]
    if hanzi:
        place = rng.choice(hanzi)
        return text[: place + 1] + text[place:]
    return text


def _inside_code(text: str, start: int, end: int) -> bool:
    """True for the letters of order numbers, coupons and mail addresses, which people paste."""
    around = text[max(0, start - 1) : start] + text[end : end + 1]
    return any(char in "@-_#" or char.isdigit() for char in around)


def _mistype(word: str, rng: Random) -> str:
    place = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if kind == 1:
        return word[:place] + word[place + 1 :]
    if kind == 2:
        return word[:place] + word[place] + word[place:]
    return word[:place] + rng.choice(_NEIGHBOURS[word[place].lower()]) + word[place + 1 :]
