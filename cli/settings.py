"""The processes' settings as a command reads them: from its own environment, with the addresses that it was given."""

from pydantic import SecretStr, ValidationError

from cli.failing import fail
from processor.settings import Settings


def settings_of(database_url: str, redis_url: str = "") -> Settings:
    """What the environment says, for the stack at these addresses."""
    try:
        return Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url))  # type: ignore[call-arg]
    except ValidationError as error:
        wrong = "; ".join(f"FLORIN_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        fail(f"the environment is not as it should be: {wrong}")
