"""The overview from the exporter of this host: the last hour, as it has seen it itself."""

import httpx
from pydantic import ValidationError

from api_min.ops.document import Overview
from api_min.ops.sources import SourceError, get_json


async def read(client: httpx.AsyncClient, url: str) -> Overview:
    """Ask the exporter at ``url``. Raises ``SourceError``."""
    document = await get_json(client, f"{url.rstrip('/')}/overview")
    try:
        overview = Overview.model_validate(document)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"])) or "the whole"
        raise SourceError(f"its answer is not an overview (wrong: {where[:100]})") from None
    # Its clock goes on when its samples do not: what counts is the newest sample.
    read_at = min(overview.now, overview.times[-1]) if overview.times else overview.now
    return overview.model_copy(update={"source": "florin", "now": read_at})
