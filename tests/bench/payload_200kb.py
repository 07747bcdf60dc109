"""A traced call that takes 200 KB: a chat history, a thousand small dicts, one string, one not ASCII."""

from __future__ import annotations

from _measure import show
from payload_4kb import main

if __name__ == "__main__":
    show(main(200_000, 1 / 8, calls=8, repeat=20, kinds=("chat", "rows", "text", "accented")))
