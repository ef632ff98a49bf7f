"""Signs URLs of objects in a store, right before they are sent: one that waited in a queue would expire there.

Signing asks nobody: it is arithmetic with the credentials that boto finds where it always looks. The signature goes
over the wire to the API and nowhere else.
"""

import os
import threading
from typing import Any

from pipeline.core.other_sources import UnfitVideo
from pipeline.core.references import StoreVideo
from pipeline.edges.media_files import UnreadableNow

VALID_S = 6 * 3600
"""A generation may wait for long before its video is fetched; keys of a role are valid for no longer themselves."""

_clients: dict[int, Any] = {}
_making = threading.Lock()


def signed(video: StoreVideo) -> str:
    """A URL under which anybody may read the object for some hours.

    `UnreadableNow` where there are no credentials, `UnfitVideo` where no such URL can be made.
    """
    from botocore.exceptions import (  # noqa: PLC0415 - who names no object need not wait for it
        BotoCoreError,
        ClientError,
        CredentialRetrievalError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    try:
        url = _client().generate_presigned_url(
            "get_object", Params={"Bucket": video.bucket, "Key": video.key}, ExpiresIn=VALID_S
        )
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise UnreadableNow(
            f"no credentials to sign s3://{video.bucket}/… with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            f"what else the AWS tools read, for the workers ({type(error).__name__})"
        ) from None
    except (BotoCoreError, ClientError, ValueError) as error:
        raise UnfitVideo(f"an object that can be signed: {type(error).__name__}") from None
    return str(url)


def forget() -> None:
    """Let the next signature be made by a new client, as the environment says then."""
    _clients.clear()


def _client() -> Any:  # noqa: ANN401 - botocore has no types
    """This process's client: to make one takes a fifth of a second."""
    with _making:
        pid = os.getpid()
        if pid not in _clients:
            import botocore.session  # noqa: PLC0415
            from botocore.config import Config  # noqa: PLC0415

            _clients.clear()
            # a store of one's own has no name for each bucket
            own = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
            session = botocore.session.get_session()
            region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
            _clients[pid] = session.create_client(
                "s3",
                region_name=region or "us-east-1",
                config=Config(signature_version="s3v4", s3={"addressing_style": "path" if own else "auto"}),
            )
        return _clients[pid]
