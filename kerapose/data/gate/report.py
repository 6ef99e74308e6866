"""How the gate tells what it found: an error for what is impossible, one warning for what is only suspicious."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence

from absl import logging

from kerapose.sides import some
from kerapose.types import Array, Path

ALL = 1 - 1e-9  # as `impossible_above`: only if every sample breaks the rule


class BadDataError(ValueError):
    """Samples that a network could not be trained on, nor asked about; `names` are theirs, for `skip`.

    Example:
        >>> from kerapose import skeletons
        >>> from kerapose.data import clips
        >>> try:
        ...     clips.from_arrays([keypoints] * 2, [0, 7], skeletons.COCO, names=["walk", "run"], num_classes=2)
        ... except clips.BadDataError as error:
        ...     print(error.names)
        ('run',)
    """

    def __init__(self, message: str, names: Iterable[str] = ()):
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

    Example:
        >>> from kerapose.data import gate
        >>> rule = gate.Rule("Clips have at least 10 frames", "with fewer", "leave them out")
        >>> report = gate.Report("clips", remedy="")
        >>> report.note(rule, "walk", found=3)
        >>> report.close()
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: Clips have at least 10 frames, got one with fewer (walk: 3);
        leave them out.
    """

    rule: str
    breach: str
    remedy: str
    impossible_above: float = 0.0


@dataclasses.dataclass
class _Breach:
    """Who breaks a rule: distinct names, how many samples, how many it could have been, what the first has instead."""

    names: dict
    count: int = 0
    among: int | None = None
    found: str = ""


class Report:
    """What is wrong with some samples, rule by rule.

    Args:
        kind: what a sample is called where there are several: "clips".
        remedy: what else can be done about samples that are named, behind each remedy; "" where nothing can.
        source: of the samples, a file say, which begins the sentences; "" where there is none to name.
        error: the class of the error, `BadDataError` or one of its children.

    Example:
        >>> from kerapose.data import gate
        >>> rule = gate.Rule("Clips have at least 10 frames", "with fewer", "leave them out", impossible_above=0.5)
        >>> report = gate.Report("clips", remedy="")
        >>> for name, length in {"walk": 30, "run": 3, "kick": 5}.items():
        ...     report.seen()
        ...     if length < 10:
        ...         report.note(rule, name, found=length)
        >>> report.close()
        Traceback (most recent call last):
            ...
        kerapose.data.gate.report.BadDataError: Clips have at least 10 frames, got 2 of 3 clips with fewer (run,
        kick: 3); leave them out.
    """

    def __init__(
        self,
        kind: str,
        remedy: str = ", or leave them out with `skip(dataset, error.names)`",
        source: Path = "",
        error: type[BadDataError] = BadDataError,
    ):
        self.kind = kind
        self.remedy = remedy
        self.source = source
        self.error = error
        self.total = 0
        self.told = set()  # the beginnings of the sentences that one need not hear twice
        self._breaches = {}  # by rule
        self._gathered = {}  # by rule

    def seen(self, count: int = 1) -> None:
        """Counts samples, whether they break a rule or not: shares are of these."""
        self.total += count

    def note(self, rule: Rule, name: str, found: typing.Any = "") -> None:
        """Notes that a sample breaks a rule; `found` is what it has instead, told of the first sample alone."""
        breach = self._breaches.setdefault(rule, _Breach({}, found=found))
        breach.count += str(name) not in breach.names
        breach.names[str(name)] = None

    def note_all(
        self,
        rule: Rule,
        names: Sequence[str] | Array,
        broken: Sequence[bool] | Array,
        found: Callable[[int], typing.Any] | None = None,
        among: Sequence[bool] | Array | None = None,
    ) -> None:
        """Notes those of N samples that break a rule; several may have one name, as people in one image do.

        Args:
            rule: the `Rule`.
            names: [N].
            broken: [N] bool.
            found: a function of the place of a sample, that gives what the first one has instead.
            among: [N] bool, which samples could break it: shares are of these. None: all that were seen.
        """
        places = [place for place, is_broken in enumerate(broken) if is_broken]
        if not places:
            return
        breach = self._breaches.setdefault(rule, _Breach({}, found=found(places[0]) if found else ""))
        breach.count += len(places)
        breach.names.update(dict.fromkeys(str(names[place]) for place in places))
        if among is not None:
            breach.among = (breach.among or 0) + sum(map(bool, among))

    def gather(
        self, rule: Rule, name: str, value: typing.Any, judge: Callable[[list[typing.Any]], tuple[Array, str]]
    ) -> None:
        """Keeps a figure of a sample for a rule that only all samples together can break.

        Args:
            rule: the `Rule`.
            name: of the sample.
            value: the figure.
            judge: a function of the figures of N samples that gives which of them break the rule, [N] bool, and what
                these have instead.
        """
        names, values, _ = self._gathered.setdefault(rule, ([], [], judge))
        names.append(name)
        values.append(value)

    def close(self, *others: "Report") -> None:
        """Raises one error on all that is impossible, if there is something, and warns once of all that is suspicious.

        Args:
            *others: reports on samples of other kinds, which are told of in the same sentence.

        Raises:
            BadDataError: whose `names` are those of the samples that are impossible.
        """
        impossible, suspicious, names = [], [], {}
        for report in (self, *others):
            report._judge()
            for rule, breach in report._breaches.items():
                among = report.total if breach.among is None else breach.among
                if breach.count > rule.impossible_above * among:
                    impossible.append(report._sentence(rule, breach, report.remedy))
                    names.update(breach.names)
                elif (rule.rule, rule.breach) not in report.told:
                    report.told.add((rule.rule, rule.breach))
                    suspicious.append(report._sentence(rule, breach, ""))
        source = f"{self.source}: " if self.source else ""
        if suspicious:
            logging.warning("%s%s", source, " ".join(suspicious))
        if impossible:
            raise self.error(source + " ".join(impossible), names)

    def _judge(self):
        for rule, (names, values, judge) in self._gathered.items():
            broken, found = judge(values)
            self.note_all(rule, names, broken, lambda _, found=found: found)
        self._gathered = {}

    def _sentence(self, rule, breach, remedy):
        what = f"{breach.count} of {self.total} {self.kind}" if self.total > 1 else "one"
        shown = ": ".join(filter(None, [some(filter(None, breach.names)), str(breach.found)]))  # some have no name
        return f"{rule.rule}, got {what} {rule.breach}{f' ({shown})' if shown else ''}; {rule.remedy}{remedy}."
