"""Channels beyond the file: messages by apprise, and the heartbeat's address.

Both are addresses in the environment or `.env`, and secrets, for they hold tokens. A
channel that fails costs no alert: what was not sent is kept, and sent by a later run.
"""

import logging
import warnings
from collections.abc import Sequence
from datetime import datetime

from factory_lib.settings import Settings
from factory_lib.settings.secrets import Secret
from factory_lib.state import State, marks

OUTBOX = "outbox"
MOST_KEPT = 100  # lines that wait for a channel; older ones are in alerts.jsonl
TIMEOUT_S = (3.0, 5.0)
INSTALL = "Install it with `pip install 'factory-lib[alerts]'`."


def send(state: State, settings: Settings, lines: Sequence[str], at: datetime) -> str:
    """Send lines as one message, with those that could not be sent before.

    Returns
    -------
    str
        Why they could not be sent, empty where they were or no address is set.
    """
    urls = settings.secrets.alert_urls
    if not urls:
        return ""
    kept = marks.get_mark(state, marks.CHANNEL, OUTBOX)
    waiting = [*(kept.note["lines"] if kept else []), *lines][-MOST_KEPT:]
    if not waiting:
        return ""
    # stored first: a process that dies while it sends leaves them to the next one
    marks.set_mark(state, marks.CHANNEL, OUTBOX, at, {"lines": waiting, "problem": "not sent yet"})
    simulated = "[SIMULATED] " if settings.simulated else ""
    title = f"{simulated}{settings.site.name} ({settings.profile}): {len(waiting)} message(s)"
    problem = _notify(urls, title, "\n".join(waiting))
    if problem:
        note = {"lines": waiting, "problem": problem}
        marks.set_mark(state, marks.CHANNEL, OUTBOX, at, note)
    else:
        marks.delete_mark(state, marks.CHANNEL, OUTBOX)
    return problem


def unsent(state: State) -> tuple[int, str]:
    """Return how many lines wait for a channel, and why."""
    kept = marks.get_mark(state, marks.CHANNEL, OUTBOX)
    return (len(kept.note["lines"]), kept.note["problem"]) if kept else (0, "")


def _notify(urls: Secret, title: str, body: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its plugins, for services that are not used
        try:
            import apprise
        except ImportError:
            return f"apprise is not installed. {INSTALL}"
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it names addresses
        sender = apprise.Apprise()
        valid = [sender.add(url) for url in urls.reveal().split()]
        if not any(valid):
            return "ALERT_URLS holds no address that apprise knows."
        return "" if sender.notify(body=body, title=title) else "an address did not take it."


def ping(settings: Settings) -> str:
    """Ask the heartbeat's address once; return why that failed, else nothing.

    A service that expects the call notices the silence of a machine that is dead.
    """
    url = settings.secrets.heartbeat_url.reveal()
    if not url:
        return ""
    import requests

    try:
        # the status alone: a body is not read, however long it is
        reply = requests.get(url, timeout=TIMEOUT_S, allow_redirects=False, stream=True)
        reply.close()
    except (requests.RequestException, ValueError) as error:
        return f"the heartbeat's address does not answer ({type(error).__name__})."
    return "" if reply.ok else f"the heartbeat's address answers HTTP {reply.status_code}."
