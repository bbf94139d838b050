"""Which line of a bank's statement is which deposit or withdrawal. What is not certain is said, never guessed."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import Enum
from itertools import islice, takewhile
from typing import Final

TransferId = tuple[int, int]
"""Position and leg."""


class Result(Enum):
    """What became of a line, or of a transfer that no line is for."""

    MATCHED = "matched"
    MISSING_IN_BOOKS = "missing_in_books"
    MISSING_IN_STATEMENT = "missing_in_statement"
    AMOUNT_DIFFERS = "amount_differs"
    DUPLICATE = "duplicate"


class Rule(Enum):
    """Why a line and a transfer are taken for the same money, in the order in which that is tried."""

    REFERENCE = "reference"
    AMOUNT_DATE_ACCOUNT = "amount_date_account"
    SUM_BY_REFERENCE = "sum_by_reference"
    SUM_BY_ACCOUNT = "sum_by_account"
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a statement. ``texts`` are all that it says: references, counterparty, remittance information."""

    id: int
    booked_on: date
    is_credit: bool
    amount_minor: int
    texts: tuple[str, ...]
    is_reversal: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """
    A deposit (``is_deposit``) or a withdrawal, in the same currency as the lines.

    ``names`` is what a statement may call it by: its command's reference, key and id. ``is_taken`` if an earlier run,
    or a person, matched it.
    """

    id: TransferId
    moved_on: date
    is_deposit: bool
    amount_minor: int
    account: str
    names: tuple[str, ...]
    is_taken: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a line and a transfer may be apart and still be the same money."""

    tolerance_minor: int = 0
    window_days: int = 3
    """Between the days of a line and of a transfer of which the line does not have the reference."""
    reference_days: int = 31
    """The same, of which it has."""
    largest_pool: int = 10
    """Lines or transfers among which a sum is looked for; among more there would be too many sums."""


@dataclass(frozen=True, slots=True)
class Match:
    """Lines and transfers that are the same money: one of each, or one and several."""

    lines: tuple[int, ...]
    transfers: tuple[TransferId, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a line that is not matched: why, and the transfers that it is about."""

    result: Result
    detail: str
    transfers: tuple[TransferId, ...] = ()


@dataclass(frozen=True, slots=True)
class Matched:
    """The answer: every line is in one of ``matches`` or has a verdict."""

    matches: Sequence[Match]
    verdicts: Mapping[int, Verdict]
    missing_in_statement: Sequence[TransferId]


@dataclass(frozen=True, slots=True)
class Period:
    """Days for which a bank account has a statement, both ends included."""

    bank_account: str
    from_on: date
    to_on: date


def match(
    lines: Iterable[Line],
    transfers: Iterable[Moved],
    *,
    limits: Limits,
    covered: Sequence[tuple[date, date]] = (),
    kept_apart: Collection[tuple[int, TransferId]] = (),
) -> Matched:
    """
    Find the transfer of each line, by the rules in their order.

    The answer depends on neither order. A transfer of a ``covered`` day that no line is for is missing in the
    statement. Pairs that are ``kept_apart`` are never matched: a person took them apart.
    """
    matching = _Matching(
        sorted(lines, key=lambda line: (line.booked_on, line.id)),
        sorted(transfers, key=lambda transfer: transfer.id),
        limits,
        frozenset(kept_apart),
    )
    matching.by_reference()
    matching.by_amount_date_account()
    matching.by_sum_of_references()
    matching.by_sum_of_account()
    matching.judge_the_rest()
    return matching.answer(covered)


def covered_days(periods: Iterable[Period]) -> list[tuple[date, date]]:
    """
    The days for which every bank account of a currency has a statement, as ranges in order.

    A deposit may be on any of them, so that it is known to be missing only when all have been looked at. An account
    counts from the first day of its first statement on.
    """
    accounts: dict[str, list[tuple[date, date]]] = defaultdict(list)
    for period in periods:
        accounts[period.bank_account].append((period.from_on, period.to_on))
    covered: list[tuple[date, date]] | None = None
    # The account that began first: before another began, it alone counts.
    for own in sorted((_joined(ranges) for ranges in accounts.values()), key=lambda ranges: ranges[0]):
        if covered is None:
            covered = own
            continue
        before = own[0][0] - timedelta(days=1)
        covered = _joined([*_cut(covered, [(date.min, before)]), *_cut(covered, own)])
    return covered or []


@dataclass
class _Matching:
    """What is known so far. Each rule takes what it is certain of and leaves the rest to the next."""

    lines: Sequence[Line]
    transfers: Sequence[Moved]
    limits: Limits
    kept_apart: frozenset[tuple[int, TransferId]]
    named: dict[int, list[Moved]] = field(default_factory=dict)
    """The transfers that each line names, in their order."""
    open_lines: dict[int, Line] = field(default_factory=dict)
    open_transfers: dict[TransferId, Moved] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    spoken_for: set[TransferId] = field(default_factory=set)
    """Transfers that a line names, and no other: none that does not may have them."""

    def __post_init__(self) -> None:
        self.open_lines = {line.id: line for line in self.lines}
        self.open_transfers = {each.id: each for each in self.transfers if not each.is_taken}
        self.hints = _Hints(self.lines, self.transfers)
        for line, found in self.hints.named():
            near = [each for each in found if self._may_be(line, each, self.limits.reference_days)]
            if near:
                self.named[line.id] = near

    def by_reference(self) -> None:
        """A line that names one transfer is that transfer, if the amounts say so too."""
        groups = self._groups_by_one_name()
        for transfer, group in groups:
            exact = [line for line in group if self._equal(line.amount_minor, transfer.amount_minor)]
            if transfer.id in self.open_transfers and exact:
                # Nearest to the amount, and of those the earliest: the bank booked the others again.
                first = min(exact, key=lambda line: abs(line.amount_minor - transfer.amount_minor))
                self._match([first], [transfer], Rule.REFERENCE)
                exact.remove(first)
            if transfer.id not in self.open_transfers:
                for line in exact:
                    self._verdict(line, Result.DUPLICATE, f"another line is {_words([transfer])}", [transfer])
        self.spoken_for = {transfer.id for transfer, _ in groups}

    def by_amount_date_account(self) -> None:
        """Amount, day and account agree for one line and one transfer, and for no other of either."""
        candidates: dict[int, list[Moved]] = {}
        claims: dict[TransferId, list[Line]] = defaultdict(list)
        for line in list(self.open_lines.values()):
            if line.is_reversal or len(self.named.get(line.id, [])) == 1:
                continue
            candidates[line.id] = self._candidates(line)
            for each in candidates[line.id]:
                claims[each.id].append(line)
        for found in candidates.values():
            if len(found) != 1 or found[0].id not in self.open_transfers:
                continue
            (transfer,) = found
            first, *others = claims[transfer.id]
            # Lines that say exactly the same are one booked more than once: which of them is taken makes no difference,
            # unless one of them may be another transfer too. What a person took apart makes them unlike.
            if all(_same(first, each) and len(candidates[each.id]) == 1 for each in claims[transfer.id]):
                self._match([first], [transfer], Rule.AMOUNT_DATE_ACCOUNT)
                for other in others:
                    self._verdict(other, Result.DUPLICATE, f"a line that says the same is {_words([transfer])}", found)

    def by_sum_of_references(self) -> None:
        """Lines that name one transfer are its parts; a line that names several is their sum."""
        for transfer, group in self._groups_by_one_name():
            if (
                transfer.id in self.open_transfers
                and len(group) > 1
                and self._equal(sum(line.amount_minor for line in group), transfer.amount_minor)
            ):
                self._match(group, [transfer], Rule.SUM_BY_REFERENCE)
        batches: dict[tuple[TransferId, ...], list[Line]] = defaultdict(list)
        for line in self.open_lines.values():
            if len(found := self.named.get(line.id, [])) > 1:
                batches[tuple(each.id for each in found)].append(line)
        for group in batches.values():
            for line in group:
                found = self.named[line.id]
                if not self._equal(line.amount_minor, sum(each.amount_minor for each in found)):
                    continue
                if all(each.id in self.open_transfers for each in found):
                    self._match([line], found, Rule.SUM_BY_REFERENCE)
                elif all(each.id not in self.open_transfers for each in found):
                    self._verdict(line, Result.DUPLICATE, f"other lines are {_words(found)}", found)

    def by_sum_of_account(self) -> None:
        """Transfers of an account that the line names add up to it in one way only; or lines to a transfer."""
        found = [*self._sums_of_transfers(), *self._sums_of_lines()]
        uses: Counter[int | TransferId] = Counter()
        for lines, transfers in found:
            uses.update(line.id for line in lines)
            uses.update(each.id for each in transfers)
        for lines, transfers in found:
            if all(uses[line.id] == 1 for line in lines) and all(uses[each.id] == 1 for each in transfers):
                self._match(lines, transfers, Rule.SUM_BY_ACCOUNT)

    def judge_the_rest(self) -> None:
        """A verdict for every line that no rule took."""
        for transfer, group in self._groups_by_one_name():
            if transfer.id not in self.open_transfers:
                for line in group:
                    detail = f"it names {_words([transfer])}, which another line is"
                    self._verdict(line, Result.MISSING_IN_BOOKS, detail, [transfer])
                continue
            who = "it names" if len(group) == 1 else f"it and {len(group) - 1} more name"
            for line in group:
                self._verdict(
                    line, Result.AMOUNT_DIFFERS, f"{who} {_words([transfer])}, whose amount is another", [transfer]
                )
        for line in list(self.open_lines.values()):
            named = self.named.get(line.id, [])
            left = [each for each in named if each.id in self.open_transfers]
            if named and not left and any(self._equal(line.amount_minor, each.amount_minor) for each in named):
                self._verdict(line, Result.DUPLICATE, f"other lines are {_words(named)}", named)
            elif len(left) > 1 and len(left) == len(named) and not self._candidates(line):
                detail = f"it names {_words(left)}, which add up to another amount"
                self._verdict(line, Result.AMOUNT_DIFFERS, detail, left)
            else:
                self._verdict(line, Result.MISSING_IN_BOOKS, self._why_unmatched(line))

    def answer(self, covered: Sequence[tuple[date, date]]) -> Matched:
        """All that was found."""
        spoken_for = {
            id_
            for verdict in self.verdicts.values()
            if verdict.result is Result.AMOUNT_DIFFERS
            for id_ in verdict.transfers
        }
        starts = [start for start, _ in covered]
        missing = [
            each.id
            for each in self.open_transfers.values()
            if each.id not in spoken_for and _is_covered(each.moved_on, covered, starts)
        ]
        return Matched(self.matches, self.verdicts, missing)

    # What the rules are made of.

    def _groups_by_one_name(self) -> list[tuple[Moved, list[Line]]]:
        """Each transfer that open lines name, and no other, with those lines."""
        groups: dict[TransferId, tuple[Moved, list[Line]]] = {}
        for line in self.open_lines.values():
            if len(found := self.named.get(line.id, [])) == 1:
                groups.setdefault(found[0].id, (found[0], []))[1].append(line)
        return list(groups.values())

    def _may_be(self, line: Line, transfer: Moved, days: int) -> bool:
        return (
            line.is_credit is transfer.is_deposit
            and abs((line.booked_on - transfer.moved_on).days) <= days
            and (line.id, transfer.id) not in self.kept_apart
        )

    def _is_free(self, transfer: Moved) -> bool:
        return transfer.id in self.open_transfers and transfer.id not in self.spoken_for

    def _equal(self, one_minor: int, other_minor: int) -> bool:
        return abs(one_minor - other_minor) <= self.limits.tolerance_minor

    def _candidates(self, line: Line) -> list[Moved]:
        """Open transfers of the amount, near the day, of an account that the line names or that it names themselves."""
        named = self.named.get(line.id)
        pool = named if named else self.hints.of_amount(line, self.limits)
        return [
            each
            for each in pool
            if self._is_free(each)
            and self._equal(line.amount_minor, each.amount_minor)
            and self._may_be(line, each, self.limits.window_days)
        ]

    def _sums_of_transfers(self) -> Iterator[tuple[list[Line], list[Moved]]]:
        for line in self.open_lines.values():
            pool = self._pool_of_line(line)
            if 1 < len(pool) <= self.limits.largest_pool:
                chosen = self._only_sum(line.amount_minor, [each.amount_minor for each in pool])
                if chosen:
                    yield [line], [pool[place] for place in chosen]

    def _sums_of_lines(self) -> Iterator[tuple[list[Line], list[Moved]]]:
        unnamed = [line for line in self.open_lines.values() if not line.is_reversal and line.id not in self.named]
        by_account = self.hints.lines_by_account(unnamed)
        for transfer in self.open_transfers.values():
            if transfer.id in self.spoken_for:
                continue
            pool = self._pool_of_transfer(transfer, by_account)
            if 1 < len(pool) <= self.limits.largest_pool:
                chosen = self._only_sum(transfer.amount_minor, [line.amount_minor for line in pool])
                if chosen:
                    yield [pool[place] for place in chosen], [transfer]

    def _pool_of_line(self, line: Line) -> list[Moved]:
        """Open transfers near the day of what the line names: all of them, or one more than may be tried."""
        named = self.named.get(line.id, [])
        if line.is_reversal or len(named) == 1:
            return []
        near = named or self.hints.near(line, self.limits.window_days, self.open_transfers)
        fitting = (each for each in near if self._is_free(each) and self._may_be(line, each, self.limits.window_days))
        return list(islice(fitting, self.limits.largest_pool + 1))

    def _pool_of_transfer(self, transfer: Moved, by_account: "Mapping[_AccountSide, list[Line]]") -> list[Line]:
        """The same of a transfer: open lines that name its account."""
        lines = by_account.get(self.hints.side_of(transfer), ())
        first = transfer.moved_on - timedelta(days=self.limits.window_days)
        last = transfer.moved_on + timedelta(days=self.limits.window_days)
        near = takewhile(
            lambda line: line.booked_on <= last,
            islice(lines, bisect_left(lines, first, key=lambda line: line.booked_on), None),
        )
        fitting = (line for line in near if self._may_be(line, transfer, self.limits.window_days))
        return list(islice(fitting, self.limits.largest_pool + 1))

    def _only_sum(self, wanted_minor: int, amounts: Sequence[int]) -> list[int] | None:
        """The places of the amounts that add up, if there is one way only and it takes two amounts at least."""
        sums = [0]
        for amount in amounts:
            # The sum at a place is that of the amounts whose bits are set in it.
            sums += [each + amount for each in sums]
        ways = [bits for bits, each in enumerate(sums) if bits and self._equal(each, wanted_minor)]
        if len(ways) != 1 or ways[0].bit_count() < 2:
            return None
        return [place for place in range(len(amounts)) if ways[0] >> place & 1]

    def _why_unmatched(self, line: Line) -> str:
        if line.is_reversal:
            return "a reversal by the bank, and it names no transfer"
        candidates = self._candidates(line)
        if candidates:
            return f"ambiguous: it may be {_words(candidates)}, or another line may be"
        if len(self._pool_of_line(line)) > self.limits.largest_pool:
            return "too many transfers of the account it names are near its day to look for a sum"
        if self.named.get(line.id):
            return f"ambiguous: it names {_words(self.named[line.id])}"
        if self.hints.accounts_of(line):
            return "no transfer of the account it names has its amount near its day"
        return "it names no transfer and no account"

    def _match(self, lines: Sequence[Line], transfers: Sequence[Moved], rule: Rule) -> None:
        self.matches.append(Match(tuple(line.id for line in lines), tuple(each.id for each in transfers), rule))
        for line in lines:
            del self.open_lines[line.id]
        for each in transfers:
            del self.open_transfers[each.id]

    def _verdict(self, line: Line, result: Result, detail: str, transfers: Sequence[Moved] = ()) -> None:
        self.verdicts[line.id] = Verdict(result, detail, tuple(each.id for each in transfers))
        del self.open_lines[line.id]


_AccountSide = tuple[str, bool]
"""The key of an account's name, and whether it is about what comes in."""


class _Hints:
    """
    What lines say, read as runs of letters and digits: banks change the case and what stands between.

    A name within a longer text counts if it has 4 characters at least and a digit; one that is all of a text, always.
    An account's name counts wherever it stands: it is one hint of three.
    """

    def __init__(self, lines: Sequence[Line], transfers: Sequence[Moved]) -> None:
        self._lines = lines
        self._runs = {line.id: [runs for text in line.texts if (runs := _runs(text))] for line in lines}
        said = {run for texts in self._runs.values() for runs in texts for run in runs}
        self._names = _Index(said)
        self._accounts = _Index(said)
        self._keys: dict[str, str | None] = {}
        self._by_side: dict[_AccountSide, list[Moved]] = defaultdict(list)
        self._by_amount: dict[_AccountSide, list[Moved]] = {}
        self._by_day: dict[_AccountSide, list[Moved]] = {}
        for each in transfers:
            for name in dict.fromkeys(each.names):
                self._names.add(name, each)
            if each.account not in self._keys:
                self._keys[each.account] = self._accounts.add(each.account, each)
            if (key := self._keys[each.account]) is not None and not each.is_taken:
                self._by_side[key, each.is_deposit].append(each)

    def named(self) -> Iterator[tuple[Line, list[Moved]]]:
        """Each line with the transfers that it names, if any."""
        for line in self._lines:
            found = {
                each.id: each
                for runs in self._runs[line.id]
                for key, is_whole in self._names.found_in(runs)
                if is_whole or _is_telling(key)
                for each in self._names.meant[key]
            }
            if found:
                yield line, [found[id_] for id_ in sorted(found)]

    def accounts_of(self, line: Line) -> list[str]:
        """The accounts that a line names, by the keys of their names."""
        keys = {key for runs in self._runs[line.id] for key, _ in self._accounts.found_in(runs)}
        return sorted(keys)

    def side_of(self, transfer: Moved) -> "_AccountSide":
        """The account and side of a transfer; no line's if none names the account."""
        return self._keys[transfer.account] or "", transfer.is_deposit

    def lines_by_account(self, lines: Iterable[Line]) -> "Mapping[_AccountSide, list[Line]]":
        """The lines by the accounts that they name, in their order."""
        found: dict[_AccountSide, list[Line]] = defaultdict(list)
        for line in lines:
            for key in self.accounts_of(line):
                found[key, line.is_credit].append(line)
        return found

    def of_amount(self, line: Line, limits: Limits) -> list[Moved]:
        """Transfers of the accounts that the line names, of about its amount and near its day."""
        window = timedelta(days=limits.window_days)
        found: list[Moved] = []
        for key in self.accounts_of(line):
            side = (key, line.is_credit)
            if side not in self._by_amount:
                self._by_amount[side] = sorted(self._by_side.get(side, ()), key=_amount_and_day)
            of_side = self._by_amount[side]
            least = (line.amount_minor - limits.tolerance_minor, line.booked_on - window)
            most = (line.amount_minor + limits.tolerance_minor, line.booked_on + window)
            first = bisect_left(of_side, least, key=_amount_and_day)
            last = bisect_right(of_side, most, key=_amount_and_day)
            found += of_side[first:last]
        return found

    def near(self, line: Line, days: int, wanted: Collection[TransferId]) -> Iterator[Moved]:
        """Transfers of the accounts that the line names, near its day, of those that were ``wanted`` at first."""
        window = timedelta(days=days)
        for key in self.accounts_of(line):
            side = (key, line.is_credit)
            if side not in self._by_day:
                of_side = [each for each in self._by_side.get(side, ()) if each.id in wanted]
                self._by_day[side] = sorted(of_side, key=_day)
            place = bisect_left(self._by_day[side], line.booked_on - window, key=_day)
            for each in islice(self._by_day[side], place, None):
                if each.moved_on > line.booked_on + window:
                    break
                yield each


class _Index:
    """Names by their runs. Only those of which every run is ``said`` somewhere: a million others take no memory."""

    def __init__(self, said: Collection[str]) -> None:
        self._said = said
        self.meant: dict[str, list[Moved]] = {}
        self._lengths: dict[str, set[int]] = defaultdict(set)

    def add(self, name: str, transfer: Moved) -> str | None:
        """Note what the name is for, and return the name's key, if a line may have it."""
        runs = _runs(name)
        # The last one first: numbers stand at the end.
        if not runs or runs[-1] not in self._said or any(run not in self._said for run in runs):
            return None
        key = " ".join(runs)
        self.meant.setdefault(key, []).append(transfer)
        self._lengths[runs[0]].add(len(runs))
        return key

    def found_in(self, runs: Sequence[str]) -> list[tuple[str, bool]]:
        """The keys in a text, and whether each is all of it. One within another is not meant: inv-17 in inv-17-b."""
        found: list[tuple[int, int, str]] = []
        for start, run in enumerate(runs):
            for length in self._lengths.get(run, ()):
                end = start + length
                if end <= len(runs) and (key := " ".join(runs[start:end])) in self.meant:
                    found.append((start, end, key))
        return [
            (key, end - start == len(runs))
            for start, end, key in found
            if not any(first <= start and end <= last and last - first > end - start for first, last, _ in found)
        ]


_RUN: Final = re.compile(r"[^\W_]+")
_HEX: Final = re.compile(r"[0-9a-f]{32}")
_SHORTEST_WITHIN: Final = 4
_NAMED_AT_MOST: Final = 3


def _amount_and_day(transfer: Moved) -> tuple[int, date]:
    return transfer.amount_minor, transfer.moved_on


def _day(transfer: Moved) -> date:
    return transfer.moved_on


def _runs(text: str) -> list[str]:
    runs: list[str] = []
    for run in _RUN.findall(text.casefold()):
        # An id without its hyphens, as it has to be where 35 characters are the most.
        runs += [run[:8], run[8:12], run[12:16], run[16:20], run[20:]] if _HEX.fullmatch(run) else [run]
    return runs


def _is_telling(key: str) -> bool:
    return len(key.replace(" ", "")) >= _SHORTEST_WITHIN and any(letter.isdigit() for letter in key)


def _same(one: Line, other: Line) -> bool:
    return (one.booked_on, one.amount_minor, one.texts) == (other.booked_on, other.amount_minor, other.texts)


def _words(transfers: Sequence[Moved]) -> str:
    named = ", ".join(f"{position}.{leg}" for position, leg in (each.id for each in transfers[:_NAMED_AT_MOST]))
    more = len(transfers) - _NAMED_AT_MOST
    kind = "transfer" if len(transfers) == 1 else "transfers"
    return f"{kind} {named}" + (f" and {more} more" if more > 0 else "")


def _joined(ranges: Iterable[tuple[date, date]]) -> list[tuple[date, date]]:
    """The same days in as few ranges as there can be, in order."""
    joined: list[tuple[date, date]] = []
    for start, end in sorted(ranges):
        if joined and (joined[-1][1] == date.max or start <= joined[-1][1] + timedelta(days=1)):
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _cut(one: Iterable[tuple[date, date]], other: Sequence[tuple[date, date]]) -> Iterator[tuple[date, date]]:
    """The days that both have."""
    for start, end in one:
        for first, last in other:
            if max(start, first) <= min(end, last):
                yield max(start, first), min(end, last)


def _is_covered(day: date, covered: Sequence[tuple[date, date]], starts: Sequence[date]) -> bool:
    place = bisect_right(starts, day) - 1
    return place >= 0 and day <= covered[place][1]
