"""The command `honeytrace serve`."""

from __future__ import annotations

import argparse
import os

from honeytrace.exceptions import HoneytraceError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `honeytrace serve`, but for --store, which all commands have."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=_port, default=8310, help="port (default: 8310; 0 takes a free one)")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="demand this key (default: HONEYTRACE_SERVER_KEY; else none on this machine, a fresh one elsewhere)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer for this host name, too, as behind a proxy; may be repeated",
    )
    parser.add_argument("--lenient", action="store_true", help="store events with fields the contract does not know")


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    try:
        from honeytrace.server.serving import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "uvicorn", "anyio", "h11", "click"):
            raise
        raise HoneytraceError("honeytrace serve needs more packages: pip install 'honeytrace[server]'") from error
    serve(
        arguments.store,
        host=arguments.host,
        port=arguments.port,
        api_key=arguments.api_key or os.environ.get("HONEYTRACE_SERVER_KEY") or None,
        lenient=arguments.lenient,
        allow_hosts=arguments.allow_host,
    )
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {text!r}")
    return int(text)
