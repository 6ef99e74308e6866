"""How large a request to a served model may be, and one sentence for each that is larger.

A limit is refused before anything is made of the request, so that a few kilobytes cannot take gigabytes. Each is an
argument of the functions that write served models; its default is here.
"""

from kerapose.export.archives import require
from kerapose.types import Tensor

MAX_IMAGES = 8  # a request
MAX_PIXELS = 50_000_000  # an image: 8160 x 6120, what most telephones and cameras take at most; 150 MB decoded
MAX_WHOLE_PIXELS = 1920 * 1080  # of one that a network sees as it is: 300 bytes a pixel, and more
MAX_OBLONG = 16  # the long side of such a one by the short: maps are enlarged by a matrix of a side by a side
MAX_BOXES = 50  # an image; in eight images that is 240 MB of crops of 256 x 192
MAX_SEQUENCES = 16  # a request, or as many videos: the network sees one after the other
MAX_PEOPLE = 10  # a sequence: each takes a volume of its own, 120 MB of limbs, before they are laid over each other
MAX_FRAMES = 10_000  # a request, of all its sequences together: more than five minutes
MAX_FRAME_PIXELS = 4096 * 2160  # a frame of a video
MAX_TRACKS = 16  # a request: each is padded by what the network sees at once, at both ends
MAX_STREAMED = 256  # tracks of a stream


def check_limits(**limits: int) -> None:
    """Raises a ValueError if a limit leaves nothing to be asked: {"max_images": 8, ...}."""
    for name, most in limits.items():
        if most < 1:
            raise ValueError(f"{name} must be at least 1, got {most}; leave it out for the usual limit.")


def at_most(inputs: dict[str, Tensor], count: Tensor, most: int, what: str, remedy: str) -> dict[str, Tensor]:
    """The inputs, once a request has no more of something than is served: `what` completes "at most 8 ..."."""
    sentence = f"A request may have at most {most} {what}, got {{}}; {remedy}."
    return require(count <= most, sentence, (count,), inputs)
