"""How the gate tells what it found: an error for what is impossible, one warning for what is only suspicious."""

import dataclasses

from absl import logging

NAMES_SHOWN = 5  # in an error or a warning
ALL = 1 - 1e-9  # as `impossible_above`: only if every sample breaks the rule


class BadDataError(ValueError):
    """Samples that a network could not be trained on, nor asked about; `names` are theirs, for `skip`."""

    def __init__(self, message, names=()):
        super().__init__(message)
        self.names = tuple(names)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a valid sample is like, and what to do about one that is not.

    Args:
        rule: the beginning of the sentence: "Keypoints are in pixels".
        breach: what breaks it, behind number and kind of the samples: "with all keypoints within 1.5 px of (0, 0)".
        remedy: the end of the sentence: "multiply them by width and height".
        impossible_above: the share of the samples above which breaches are impossible; up to it they are suspicious.
            0: even one is impossible. `ALL`: all of them are. 1: none ever is.
    """

    rule: str
    breach: str
    remedy: str
    impossible_above: float = 0.0


class Report:
    """What is wrong with some samples, rule by rule.

    Args:
        kind: what a sample is called where there are several: "clips".
        remedy: what else can be done about samples that are named, behind each remedy; "" where nothing can.
        source: of the samples, a file say, which begins each sentence; "" where there is none to name.
        error: the class of the error, `BadDataError` or one of its children.

    Example:
        >>> report = Report("clips")
        >>> for clip in clips:
        ...     report.seen()
        ...     if clip["keypoints"].max() <= 1.5:
        ...         report.note(PIXELS, clip["name"])
        >>> report.close()
    """

    def __init__(
        self, kind, remedy=", or leave them out with `skip(dataset, error.names)`", source="", error=BadDataError
    ):
        self.kind = kind
        self.remedy = remedy
        self.source = source
        self.error = error
        self.total = 0
        self._breaches = {}  # by rule: names, and what was found in the first of them

    def seen(self, count=1):
        """Counts samples, whether they break a rule or not: shares are of these."""
        self.total += count

    def note(self, rule, name, found=""):
        """Notes that a sample breaks a rule; `found` is what it has instead, told of the first sample alone."""
        self._breaches.setdefault(rule, ([], found))[0].append(str(name))

    def note_all(self, rule, names, broken):
        """Notes the samples of some names for which a mask [N] is true."""
        for name, is_broken in zip(names, broken, strict=True):
            if is_broken:
                self.note(rule, name)

    def close(self):
        """Raises one error on all that is impossible, if there is something, and warns once of all that is suspicious.

        Raises:
            BadDataError: whose `names` are those of the samples that are impossible.
        """
        impossible, suspicious = [], []
        for rule, (names, found) in self._breaches.items():
            distinct = list(dict.fromkeys(names))
            is_impossible = len(distinct) > rule.impossible_above * self.total
            (impossible if is_impossible else suspicious).append((rule, distinct, found))
        source = f"{self.source}: " if self.source else ""
        if suspicious:
            logging.warning("%s%s", source, " ".join(self._sentence(*breach, "") for breach in suspicious))
        if impossible:
            names = dict.fromkeys(name for _, names, _ in impossible for name in names)
            raise self.error(source + " ".join(self._sentence(*breach, self.remedy) for breach in impossible), names)

    def _sentence(self, rule, names, found, remedy):
        what = f"{len(names)} of {self.total} {self.kind}" if self.total > 1 else "one"
        shown = ": ".join(filter(None, [some(filter(None, names)), str(found)]))  # one without a name needs none
        return f"{rule.rule}, got {what} {rule.breach}{f' ({shown})' if shown else ''}; {rule.remedy}{remedy}."


def some(names):
    """The first of some names, and how many more there are: for an error."""
    names = [str(name) for name in names]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
