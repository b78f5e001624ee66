"""The body of an answer, read with limits on its size and on the time that all of it takes."""

from threading import Event, Timer

import requests
from requests.exceptions import ContentDecodingError

from factory_lib.errors import MalformedResponse, ReadTimeout

# Unpacked. The largest answer of a provider, a year of hourly weather, has 2 MB.
MOST_BYTES = 64_000_000
LONGEST_ANSWER_S = 180.0  # three times the longest wait for its next part
CHUNK = 65_536  # packed a thousandfold, one is still within the limit


def read_body(source: str, answer: requests.Response) -> bytes:
    """Return the unpacked body of an answer that was asked for as a stream.

    Raises
    ------
    MalformedResponse
        If it is larger than any answer is, or its packing or chunks are damaged.
    ReadTimeout
        If it takes longer than any answer does, however steadily it comes.
    requests.RequestException
        If it breaks off.
    """
    late = Event()

    def give_up() -> None:
        late.set()
        answer.raw.shutdown()

    timer = Timer(LONGEST_ANSWER_S, give_up)
    timer.daemon = True
    timer.start()
    body = bytearray()
    try:
        for part in answer.iter_content(CHUNK):
            body += part
            if len(body) > MOST_BYTES:
                raise MalformedResponse(
                    source, f"the answer has more than {MOST_BYTES / 1e6:.0f} MB"
                )
    except ContentDecodingError:
        raise MalformedResponse(source, "the answer is packed in a damaged way") from None
    except requests.RequestException:
        if late.is_set():
            raise ReadTimeout(source, f"no whole answer in {LONGEST_ANSWER_S:.0f} s") from None
        raise
    except ValueError:  # of the standard library, for a chunk of no length
        raise MalformedResponse(source, "the answer is cut into damaged chunks") from None
    finally:
        timer.cancel()
        answer.close()
    return bytes(body)
