"""Messages to people, by apprise: chat, mail, pagers, webhooks, each by its URL.

Such a URL holds secrets. It comes from the environment, and no reason or error quotes it, nor
what a service says about it.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from rehearsal.errors import SettingsError
from rehearsal.notify.message import Message
from rehearsal.notify.retry import Outcome, Pause, with_retries
from rehearsal.settings import Sink

_HTTP_STATUS = re.compile(r"\berror=(\d{3})\b")


def send(
    name: str,
    sink: Sink,
    message: Message,
    attempts: int,
    pause: Pause,
    environ: Mapping[str, str] = os.environ,
) -> Outcome:
    """Send a message to one sink; whatever goes wrong is the outcome's reason.

    No attempt is made where the environment has no usable URL.
    """
    try:
        made = service(name, sink, environ)
    except SettingsError as error:
        return Outcome(str(error), 0)
    return with_retries(partial(_send_once, made, message), attempts, pause)


def service(name: str, sink: Sink, environ: Mapping[str, str]) -> Any:
    """Return apprise's service of a sink's URL.

    Raises:
        SettingsError: the environment has no usable URL; the message names sink and variable.
    """
    import apprise

    url = environ.get(sink.url_env, "").strip()
    if not url:
        raise SettingsError(
            f"sink {name!r} has no URL: the environment variable {sink.url_env} is not set"
        )
    asset = apprise.AppriseAsset(app_id="Rehearsal")
    made: Any = None
    with suppress(Exception):  # of a malformed URL, over a hundred plugins may say anything
        made = apprise.Apprise.instantiate(url, asset=asset)
    if made is None:
        raise SettingsError(
            f"sink {name!r} has no usable URL: what the environment variable {sink.url_env} holds "
            "is no apprise URL"
        )
    if "overflow=" not in url:
        # By default the service refuses a message too long for it.
        made.overflow_mode = apprise.OverflowMode.TRUNCATE
    return made


def _send_once(made: Any, message: Message) -> str | None:
    import apprise

    capture: Any = apprise.LogCapture
    sender = apprise.Apprise(made)
    with capture(level=apprise.logging.WARNING) as log:
        try:
            accepted = sender.notify(
                title=message.title,
                body=message.body,
                notify_type=apprise.NotifyType.WARNING,
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - no plugin may stop the other sinks
            return type(error).__name__
        return None if accepted else _reason(log.getvalue())


def _reason(log: str) -> str:
    status = _HTTP_STATUS.search(log)
    if status:
        return f"HTTP {status[1]}"
    return "no connection" if "onnection error" in log else "not accepted"
