"""The options that say which API is asked, and where it is."""

import click

from pipeline.core.modes import APIS, FOXAPI
from pipeline.core.providers import FOXAPI_URL, base_url_for


def _base_url(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """Refuse here what every worker would refuse later."""
    del parameter
    return base_url_for(context.params.get("api", FOXAPI), value)


offline = click.option(
    "--offline",
    envvar="VIDBATCH_OFFLINE",
    is_flag=True,
    help="Do not ask the API which models it has and what the balance is; without a key it is not asked anyway.",
)
api = click.option(
    "--api",
    envvar="VIDBATCH_API",
    type=click.Choice(APIS),
    default=FOXAPI,
    show_default=True,
    is_eager=True,  # what the address has to be depends on it
    help="Which API is spoken there: openai is any server of OpenAI's chat completions that takes video_url parts, "
    "such as vLLM, OpenRouter or Gemini's compatible endpoint. It needs --base-url, and a model.",
)
base_url = click.option(
    "--base-url",
    envvar="VIDBATCH_BASE_URL",
    callback=_base_url,
    help=f"The API's address [default: {FOXAPI_URL}; none with --api openai, which takes it as OpenAI's own client "
    "does, with its /v1].",
)
