"""How proofs go over what they look at, in pages that no statement takes long for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from psycopg import Connection

from processor.proofs.proof import Scope
from processor.store.proving import log


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
    return _weighed(log.accounts(conn, scope.page), scope)


def suspected_accounts(conn: Connection[Any], scope: Scope) -> Iterator[Accounts]:
    """Those under suspicion."""
    return _weighed(iter(log.accounts_named(conn, scope.suspected("account"))), scope)


def these_accounts(conn: Connection[Any], scope: Scope, ids: Sequence[int]) -> Iterator[Accounts]:
    """The accounts of these ids."""
    return _weighed(iter(log.accounts_of(conn, sorted(set(ids)))), scope)


def _weighed(accounts: Iterator[tuple[int, int]], scope: Scope) -> Iterator[Accounts]:
    """Pages of about as many transfers each: an account's version says how many it has."""
    heavy = 5 * scope.page
    ids: list[int] = []
    weight = 0
    for id_, version in accounts:
        scope.count(1)
        if version > heavy:
            yield from _parts(id_, version, heavy)
            continue
        ids.append(id_)
        weight += 1 + version
        if weight >= heavy or len(ids) >= scope.page:
            yield Accounts(ids)
            ids, weight = [], 0
    if ids:
        yield Accounts(ids)


def _parts(id_: int, version: int, step: int) -> Iterator[Accounts]:
    """The ends are open: a version that the account's own row does not know of is looked at as well."""
    whole = Accounts([id_])
    cuts = [whole.low, *range(step, version, step), whole.high]
    return (Accounts([id_], low, high) for low, high in pairwise(cuts))
