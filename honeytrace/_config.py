"""Every setting, its default and its environment variable: the only file that reads the environment.

An argument of `init()` wins over the environment, the environment over the default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from honeytrace.exceptions import ConfigError

__all__ = ["DEFAULT_SERVER_URL", "Settings", "home", "load"]

DEFAULT_SERVER_URL = "https://api.dp1.us.honeyhive.ai"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `init()` resolved. Times are seconds, sizes are bytes."""

    api_key: str | None = None
    server_url: str = DEFAULT_SERVER_URL
    source: str = "dev"
    session_name: str | None = None
    sample_rate: float = 1.0
    max_event_bytes: int = 1_000_000
    journal: Path | None = None
    """The folder of the journals; None keeps them in memory."""
    journal_missing: bool = False
    """Whether a folder was wanted, and there is no home for it."""
    journal_bytes: int = 256 * 1024 * 1024
    enabled: bool = True

    def __repr__(self) -> str:
        key = "None" if self.api_key is None else "'...'"
        return f"Settings(api_key={key}, source={self.source!r}, enabled={self.enabled})"


def home() -> Path:
    """The folder of the local store: HONEYTRACE_HOME, or ~/.honeytrace.

    Raises:
        ConfigError: this user has no home.
    """
    try:
        return Path(os.environ.get("HONEYTRACE_HOME") or Path.home() / ".honeytrace").expanduser()
    except RuntimeError:
        raise ConfigError("HONEYTRACE_HOME must be a folder: there is no home directory to take instead") from None


def _journals(given: bool | str | os.PathLike[str] | None) -> Path | None:
    if given is False:
        return None
    try:
        return home() / "journal" if given is None or given is True else Path(given).expanduser()
    except (ConfigError, RuntimeError):  # there is no home
        return None


def _flag(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")


def load(
    *,
    api_key: str | None = None,
    server_url: str | None = None,
    source: str | None = None,
    session_name: str | None = None,
    sample_rate: float | None = None,
    max_event_bytes: int | None = None,
    journal: bool | str | os.PathLike[str] | None = None,
    journal_bytes: int | None = None,
    enabled: bool | None = None,
) -> Settings:
    """Resolve arguments, environment and defaults.

    Raises:
        ConfigError: a value cannot be right; the message names it.
    """
    env = os.environ.get
    rate = 1.0 if sample_rate is None else sample_rate
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise ConfigError(f"sample_rate must be a number between 0 and 1, not {rate!r}")
    size = Settings.max_event_bytes if max_event_bytes is None else max_event_bytes
    if isinstance(size, bool) or not isinstance(size, int) or not 1_000 <= size <= 3_500_000:
        raise ConfigError(f"max_event_bytes must be an integer between 1000 and 3500000, not {size!r}")
    held = Settings.journal_bytes if journal_bytes is None else journal_bytes
    if isinstance(held, bool) or not isinstance(held, int) or held < 1_000_000:
        raise ConfigError(f"journal_bytes must be an integer from 1000000 up, not {held!r}")
    if journal == "" or (journal is not None and not isinstance(journal, (bool, str, os.PathLike))):
        raise ConfigError(f"journal must be a folder, or False for memory only, not {journal!r}")
    if enabled is not None and not isinstance(enabled, bool):
        raise ConfigError(f"enabled must be True or False, not {enabled!r}")
    for name, value in (
        ("api_key", api_key),
        ("server_url", server_url),
        ("source", source),
        ("session_name", session_name),
    ):
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{name} must be a string, not {type(value).__name__}")
    journals = _journals(journal)
    return Settings(
        api_key=api_key or env("HH_INGESTION_API_KEY") or env("HH_API_KEY") or None,
        server_url=(server_url or env("HH_API_URL") or DEFAULT_SERVER_URL).rstrip("/"),
        source=source or env("HH_SOURCE") or Settings.source,
        session_name=session_name or env("HH_SESSION_NAME") or None,
        sample_rate=rate,
        max_event_bytes=size,
        journal=journals,
        journal_missing=journals is None and journal is not False,
        journal_bytes=held,
        enabled=(not _flag("HH_DISABLE_TRACING")) if enabled is None else enabled,
    )
