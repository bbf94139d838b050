"""How proofs go over what they look at, in pages that no statement takes long for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from processor.proofs.proof import Scope
from processor.store.proving import accounts, log


def outcomes(conn: Connection[Any], scope: Scope) -> Iterator[list[int]]:
    """Pages of the positions of outcomes: of all, or of the new ones. Those under suspicion come first."""
    if suspects := scope.suspected_ids("command"):
        yield suspects
    pages = log.outcome_pages(conn, scope.page) if scope.is_full else new_outcomes(conn, scope)
    for page in pages:
        scope.count(len(page))
        yield page


def new_outcomes(conn: Connection[Any], scope: Scope) -> Iterator[list[int]]:
    """Slices of the log: the positions of the new outcomes."""
    return log.slices(conn, since_xid=scope.since_xid, below_xid=scope.below_xid, limit=scope.page)


@dataclass(frozen=True, slots=True)
class Accounts:
    """
    Accounts to be looked at together, with their transfers of a version from ``low`` on and below ``high``.

    An account with very many transfers is alone, and comes in several parts, in order.
    """

    ids: Sequence[int]
    low: int = -(2**63)
    high: int = 2**63 - 1


def all_accounts(conn: Connection[Any], scope: Scope) -> Iterator[Accounts]:
    """Every customer account."""
    return _weighed(conn, scope, log.accounts(conn, scope.page))


def suspected_accounts(conn: Connection[Any], scope: Scope) -> Iterator[Accounts]:
    """Those under suspicion."""
    return _weighed(conn, scope, log.accounts_named(conn, scope.suspected("account")))


def these_accounts(conn: Connection[Any], scope: Scope, ids: Sequence[int]) -> Iterator[Accounts]:
    """The accounts of these ids."""
    return _weighed(conn, scope, log.accounts_of(conn, sorted(set(ids))))


def _weighed(conn: Connection[Any], scope: Scope, found: Iterable[tuple[int, int]]) -> Iterator[Accounts]:
    """Pages of about as many transfers each: an account's version says how many it has."""
    heavy = 5 * scope.page
    ids: list[int] = []
    weight = 0
    for id_, version in found:
        scope.count(1)
        if version > heavy:
            yield from _parts(conn, scope, id_, heavy)
            continue
        ids.append(id_)
        weight += 1 + version
        if weight >= heavy or len(ids) >= scope.page:
            yield Accounts(ids)
            ids, weight = [], 0
    if ids:
        yield Accounts(ids)


def _parts(conn: Connection[Any], scope: Scope, id_: int, step: int) -> Iterator[Accounts]:
    """
    Cut where transfers are: what the account's own row says of its version is what is in doubt.

    The ends are open: a version that the row does not know of is looked at as well.
    """
    whole = Accounts([id_])
    low, least = whole.low, step
    while (cut := accounts.next_version(conn, id_, least, whole.high)) is not None:
        yield Accounts([id_], low, cut)
        scope.count(0)
        low, least = cut, min(cut + step, whole.high)
    yield Accounts([id_], low, whole.high)
