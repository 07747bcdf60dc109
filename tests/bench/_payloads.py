"""Payloads as programs have them, each made anew: a string that was encoded once may keep its encoding."""

from __future__ import annotations

_PROSE = (
    'The hive keeps a log: "who danced, where, for how long".\nA forager that finds a meadow returns '
    "and repeats the figure until others follow; the colony's choice is a vote: better meadow, more dance.\n"
)
_ACCENTED = "Über Königinnen – and their naïve suitors – a café in Besançon has strong opinions…\n"


def text(size: int, index: int) -> str:
    """Prose in ASCII, of so many characters."""
    return (f"{index}: " + _PROSE * (size // len(_PROSE) + 1))[:size]


def accented(size: int, index: int) -> str:
    """Prose with a line in four that is not ASCII, so none of it is stored as ASCII."""
    part = _ACCENTED + _PROSE * 2
    return (f"{index}: " + part * (size // len(part) + 1))[:size]


def chat(size: int, index: int) -> list[dict[str, object]]:
    """A chat history: a system prompt, then turns, one of which calls a tool."""
    messages: list[dict[str, object]] = [{"role": "system", "content": text(min(size // 5, 2000), index)}]
    room = size - 60 - min(size // 5, 2000)
    while room > 0:
        turn = len(messages)
        call = {"name": "search", "arguments": f'{{"query": "meadow {index}", "limit": {turn}}}'}
        calls = [{"id": f"call_{turn}", "type": "function", "function": call}]
        turns: list[dict[str, object]] = [
            {"role": "user", "content": text(220, turn)},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"call_{turn}", "content": text(400, turn)},
            {"role": "assistant", "content": accented(300, turn)},
        ]
        messages += turns
        room -= 1350
    return messages


def rows(size: int, index: int) -> list[dict[str, object]]:
    """Search results: a thousand small dicts for 200 KB."""
    return [
        {
            "id": number + index,
            "title": f"Meadow number {number}",
            "score": number / 7,
            "path": f"docs/field/{number}.md",
            "tags": ["clover", "linden", f"t{number}"],
            "open": number % 2 == 0,
            "snippet": text(60, number),
            "next": None,
        }
        for number in range(size // 200)
    ]
