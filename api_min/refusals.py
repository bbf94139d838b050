"""``python -m api_min.refusals``: writes the table of refusals in docs/api.md, from the rules that give them."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, cast, get_args

from api_min.bodies import TYPES
from processor.domain import decide
from processor.domain.commands import Command
from processor.domain.outcomes import Reason
from processor.store.books import PendingRow

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "api.md"

ALL_TYPES: Final = (*TYPES, "collect", "expire_hold")
"""Those of clients, and those that the scheduler sends."""

ANY: Final = {
    Reason.LINKED_COMMAND_REFUSED: "any that is linked with others",
    Reason.INTERNAL_ERROR: "any; its status is `failed`",
}
"""What no rule of a command gives."""

_BEGIN: Final = "<!-- From here on written by `python -m api_min.refusals`; a test compares. -->\n"
_END: Final = "<!-- To here. -->\n"
_DOMAIN: Final = "processor.domain."


def page(text: str) -> str:
    """``text``, which is that of the page, with the table as it is now."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def table() -> str:
    """Every reason with its text and the commands that it may answer, in order of precedence."""
    by_type = {type_: set(reasons_of(rule)) for type_, rule in rules().items()}
    rows = ["| reason | text | may answer |", "|---|---|---|"]
    for reason in Reason:
        types = [type_ for type_, reasons in by_type.items() if reason in reasons]
        rows.append(f"| `{reason.value}` | {reason.text} | {ANY.get(reason) or _named(types)} |")
    return "\n".join([*rows, ""])


def rules() -> Mapping[str, FunctionType]:
    """The function that decides each type of command: as workers build it from its row, and as ``decide`` has it."""
    by_class = _rules_by_class()
    by_type = {type_: by_class[type(_built(type_)).__name__] for type_ in ALL_TYPES}
    if missing := {each.__name__ for each in get_args(Command)} - {type(_built(type_)).__name__ for type_ in by_type}:
        raise ValueError(f"commands without a type here: {missing}")
    return by_type


def reasons_of(rule: Callable[..., Any]) -> list[Reason]:
    """The reasons that the rule names, itself or in what it calls of the domain, each where it is named first."""
    return list(dict.fromkeys(_reasons(cast(FunctionType, rule), set())))


def _reasons(function: FunctionType, seen: set[FunctionType]) -> Iterator[Reason]:
    seen.add(function)
    for node in _in_order(_parsed(function)):
        if not isinstance(node, (ast.Attribute, ast.Name)):
            continue
        named = _named_by(node, function.__globals__)
        if isinstance(named, Reason):
            yield named
        elif isinstance(named, FunctionType) and named.__module__.startswith(_DOMAIN) and named not in seen:
            yield from _reasons(named, seen)


def _rules_by_class() -> dict[str, FunctionType]:
    """From the arms of ``decide``'s match: ``case Deposit(): return payments.decide_deposit(working, command)``."""
    found = {}
    for node in ast.walk(_parsed(decide._decide_one)):
        if isinstance(node, ast.match_case):
            (answer,) = node.body
            assert isinstance(node.pattern, ast.MatchClass)
            assert isinstance(answer, ast.Return)
            assert isinstance(answer.value, ast.Call)
            rule = _named_by(answer.value.func, vars(decide))
            assert isinstance(rule, FunctionType)
            found[ast.unparse(node.pattern.cls)] = rule
    return found


def _named_by(node: ast.expr, names: Mapping[str, Any]) -> object:
    """What ``name`` or ``module.name`` stands for; ``None`` if it is a local variable."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = names.get(node.value.id)
        if isinstance(owner, ModuleType) or owner is Reason:
            return cast(object, getattr(owner, node.attr, None))
    return None


def _parsed(function: Callable[..., Any]) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def _in_order(tree: ast.AST) -> list[ast.expr]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr)]
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))


def _built(type_: str) -> Command:
    return PendingRow(1, type_, "a", "a", "b", 1, "USD", 0, 0, datetime.min.replace(tzinfo=UTC)).command()


def _named(types: list[str]) -> str:
    if len(types) > len(ALL_TYPES) // 2:
        return f"all but {_listed([each for each in ALL_TYPES if each not in types])}"
    return _listed(types)


def _listed(types: list[str]) -> str:
    return ", ".join(f"`{each}`" for each in types) or "none"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
