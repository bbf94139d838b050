"""
Checks a proof that a command is in Florin's sealed history. Offline, with nothing but Python 3.8 or newer:

    python3 verify_inclusion.py PROOF.json --roots BLOCKS.ndjson

BLOCKS.ndjson has the blocks as they were published, one JSON object a line; the proof is worth as much as the place
that it was kept in. Exits with 0 if the command is proven, 1 if it is not, and 2 if something cannot be read.
The formats are in docs/tamper-evidence.md.
"""

import argparse
import hashlib
import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

FORMAT = "florin inclusion proof 1"


class NotProvenError(Exception):
    """Why the proof proves nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check a proof that a command is in Florin's sealed history.")
    parser.add_argument("proof", help="what `florin prove-inclusion` wrote")
    parser.add_argument("--roots", help="the published blocks: one JSON object a line")
    arguments = parser.parse_args()
    try:
        proof = read_proof(arguments.proof)
        published = read_published(arguments.roots) if arguments.roots else None
    except (OSError, ValueError, RecursionError) as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 2
    try:
        hashes = check(proof)
        found = None if published is None else compare(proof, hashes, published)
        text = report(proof, hashes, found)
    except NotProvenError as error:
        print(f"NOT PROVEN: {error}", file=sys.stderr)
        return 1
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        print(f"NOT PROVEN: the proof is not whole ({type(error).__name__}: {error})", file=sys.stderr)
        return 1
    print(text)
    return 0


def check(proof: dict) -> list:
    """The hashes of the proof's blocks, once all that it holds fits together."""
    if proof["format"] != FORMAT:
        raise NotProvenError(f"its format is not {FORMAT!r}")
    headers = proof["headers"]
    leaf = sha256(b"\x00" + proof["record"].encode("utf-8"))
    path = [bytes.fromhex(each) for each in proof["path"]]
    if root_by_path(leaf, number(proof["index"]), number(headers[0]["leaves"]), path) != headers[0]["root"]:
        raise NotProvenError("the record is not in the block: its path does not lead to the block's root")
    hashes = [header_hash(header) for header in headers]
    for place in range(1, len(headers)):
        before, header = headers[place - 1], headers[place]
        if header["previous"] != hashes[place - 1] or header["number"] != before["number"] + 1:
            raise NotProvenError(f"block {header['number']} does not follow block {before['number']}")
        if header["first_leaf"] != before["first_leaf"] + before["leaves"]:
            raise NotProvenError(f"leaves are missing before block {header['number']}")
    return hashes


def compare(proof: dict, hashes: list, published: list) -> int:
    """The number of the newest block of the proof that was published, once none of them contradicts it."""
    mine = {header["number"]: hashes[place] for place, header in enumerate(proof["headers"])}
    met = [block for block in published if block["number"] in mine]
    for block in met:
        if block["hash"] != mine[block["number"]]:
            raise NotProvenError(f"block {block['number']} was published with another hash")
    if not met:
        raise NotProvenError(f"none of its blocks, {min(mine)} to {max(mine)}, was published in this file")
    return max(block["number"] for block in met)


def root_by_path(leaf: bytes, index: int, count: int, path: list) -> str:
    """The root of a tree of so many leaves that has this one at the index; RFC 9162, section 2.1.3.2."""
    if not 0 <= index < count:
        raise NotProvenError(f"its index is {index}, and the block has {count} leaves")
    reached, last, rest = leaf, count - 1, list(path)
    while last:
        if index % 2 or index < last:
            if not rest:
                raise NotProvenError("its path is too short")
            neighbour = rest.pop(0)
            reached = sha256(b"\x01" + (neighbour + reached if index % 2 else reached + neighbour))
        index, last = index // 2, last // 2
    if rest:
        raise NotProvenError("its path is too long")
    return reached.hex()


def header_hash(header: dict) -> str:
    fields = ("history", "number", "first_leaf", "leaves", "root", "previous", "sealed_at_us", "version")
    if sorted(header) != sorted(fields) or header["version"] != 1:
        raise NotProvenError("a header is not of version 1")
    for name in ("number", "first_leaf", "leaves", "sealed_at_us", "version"):
        number(header[name])
    canonical = json.dumps(header, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(b"\x02" + canonical.encode("utf-8")).hex()


def number(value: object) -> int:
    if type(value) is not int:
        raise NotProvenError(f"{value!r} is no whole number")
    return value


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def read_proof(path: str) -> dict:
    proof = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(proof, dict):
        raise ValueError(f"{path} is no proof")
    return proof


def read_published(path: str) -> list:
    blocks, torn = [], ""
    with Path(path).open(encoding="utf-8") as file:
        for place, line in enumerate(file, start=1):
            # A crash may have cut a line short. Then the next one is the same, in full.
            if torn and not line.startswith(torn):
                raise ValueError(f"{path} line {place - 1} is no block")
            torn = ""
            try:
                block = json.loads(line)
                blocks.append({"number": number(block["number"]), "hash": str(block["hash"])})
            except (ValueError, KeyError, TypeError, NotProvenError):
                torn = line.rstrip("\n")
    return blocks


def report(proof: dict, hashes: list, found: object) -> str:
    """What is proven, for a person to read."""
    block, last = proof["headers"][0], proof["headers"][-1]
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - Python 3.8 has no other name for it
    sealed_at = epoch + timedelta(microseconds=block["sealed_at_us"])
    lines = [
        json.dumps(json.loads(proof["record"]), ensure_ascii=False, indent=2, sort_keys=True),
        f"is in block {block['number']} of history {block['history']}, sealed at {sealed_at.isoformat()}",
    ]
    if found is not None:
        lines.append(f"PROVEN: block {found} was published")
    else:
        lines.append(f"IF block {last['number']} was published as {hashes[-1]}")
        lines.append("Give --roots a file of published blocks, or compare that hash with one that you trust.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
